//! JSON that no type of ours derives: objects that differ from their values, instants and windows.

use serde::Serializer;
use serde::ser::SerializeStruct;

use crate::domain::format;
pub use crate::domain::format::{serialize_maybe_time as maybe_time, serialize_time as time};
use crate::domain::period::Window;

/// A window as its fields `from` and `to`; for `#[serde(flatten)]`.
pub fn window<S: Serializer>(window: &Window, serializer: S) -> Result<S::Ok, S::Error> {
    let mut fields = serializer.serialize_struct("Window", 2)?;
    fields.serialize_field("from", &format::time_ms(window.from))?;
    fields.serialize_field("to", &format::time_ms(window.to))?;
    fields.end()
}

/// A JSON object with these fields in this order; it begins with the fields of `..first` or ends with those of
/// `..rest`.
macro_rules! object {
    ($($name:ident: $value:expr),+ $(,)?) => {{
        #[allow(non_camel_case_types)]
        let object = {
            #[derive(serde::Serialize)]
            struct Object<$($name),+> {
                $($name: $name),+
            }
            Object { $($name: $value),+ }
        };
        object
    }};
    (..$first:expr, $($name:ident: $value:expr),+ $(,)?) => {{
        #[allow(non_camel_case_types)]
        let object = {
            #[derive(serde::Serialize)]
            struct Object<First, $($name),+> {
                #[serde(flatten)]
                first: First,
                $($name: $name),+
            }
            Object { first: $first, $($name: $value),+ }
        };
        object
    }};
    ($($name:ident: $value:expr,)+ ..$rest:expr) => {{
        #[allow(non_camel_case_types)]
        let object = {
            #[derive(serde::Serialize)]
            struct Object<$($name,)+ Rest> {
                $($name: $name,)+
                #[serde(flatten)]
                rest: Rest,
            }
            Object { $($name: $value,)+ rest: $rest }
        };
        object
    }};
}
pub(crate) use object;
