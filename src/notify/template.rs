//! Bodies of webhooks by a template, in the language of Jinja.
//!
//! The context has the fields of the notice as docs/json.md describes them, and `env`, the variables that the channel
//! names. In a JSON body each value is written as JSON, so that no text of a notice can change the body's structure.

use std::collections::BTreeMap;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use super::Failure;
use crate::domain::alert::channel::BodyTemplate;
use crate::domain::alert::notice::{self, Content};
use crate::http::Secret;

const BODY: &str = "body";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("line {line}: {reason}")]
    Template { line: usize, reason: String },
    /// With the output, the place in which depends on the notice.
    #[error("the output for a notice of kind {kind} is not JSON: {reason}")]
    NotJson { kind: String, reason: String },
}

impl From<minijinja::Error> for TemplateError {
    fn from(error: minijinja::Error) -> TemplateError {
        let kind = error.kind().to_string();
        TemplateError::Template {
            line: error.line().unwrap_or(1),
            reason: match error.detail() {
                Some(detail) => format!("{kind}: {detail}"),
                None => kind,
            },
        }
    }
}

pub struct Template {
    environment: Environment<'static>,
    is_json: bool,
}

impl Template {
    pub fn compile(template: &BodyTemplate) -> Result<Template, TemplateError> {
        let mut environment = Environment::new();
        let is_json = template.is_json();
        let escape = if is_json {
            AutoEscape::Json
        } else {
            AutoEscape::None
        };
        environment.set_auto_escape_callback(move |_| escape.clone());
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // Errors then name the variable.
        environment.set_debug(true);
        environment.add_template_owned(BODY, template.text.clone())?;
        Ok(Template {
            environment,
            is_json,
        })
    }

    /// The body for a notice; `variables` are secrets of the channel.
    pub fn render(
        &self,
        content: &Content,
        variables: &BTreeMap<String, Secret>,
    ) -> Result<String, TemplateError> {
        let variables = variables.iter();
        let variables: BTreeMap<String, String> = variables
            .map(|(name, secret)| (name.clone(), secret.expose().to_owned()))
            .collect();
        let notice = Value::from(Serde(content));
        let body = self
            .environment
            .get_template(BODY)?
            .render(context! { env => variables, ..notice })?;
        if self.is_json {
            serde_json::from_str::<serde::de::IgnoredAny>(&body).map_err(|error| {
                TemplateError::NotJson {
                    kind: content.kind.to_string(),
                    reason: error.to_string(),
                }
            })?;
        }
        Ok(body)
    }
}

/// Compiles a template and renders it for notices of all kinds, with and without values.
pub fn check(template: &BodyTemplate) -> Result<(), TemplateError> {
    let compiled = Template::compile(template)?;
    let variables = template.variables.iter();
    let variables = variables.map(|name| (name.clone(), Secret::from("secret".to_owned())));
    let variables = variables.collect();
    let mut notices = notice::samples();
    notices.try_for_each(|content| compiled.render(&content, &variables).map(|_| ()))
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Failure {
        Failure::of_notice(format!("the template of the channel: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::notice::{NoticeKind, sample};

    fn template(text: &str) -> BodyTemplate {
        BodyTemplate {
            text: text.to_owned(),
            content_type: "application/json".to_owned(),
            variables: vec!["KEY".to_owned()],
        }
    }

    fn error(text: &str) -> String {
        check(&template(text)).unwrap_err().to_string()
    }

    fn rendered(template: &BodyTemplate, content: &Content) -> String {
        let variables = [("KEY".to_owned(), Secret::from("s3cret".to_owned()))];
        let compiled = Template::compile(template).unwrap();
        compiled.render(content, &variables.into()).unwrap()
    }

    #[test]
    fn value_is_written_as_json() {
        let content = Content {
            summary: "\"quoted\" </b>\n".to_owned(),
            ..sample(NoticeKind::Firing)
        };
        let text =
            r#"{"a": {{ summary }}, "b": {{ ended_at }}, "c": {{ env.KEY }}, "d": {{ value }}}"#;
        let body = rendered(&template(text), &content);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let expected =
            serde_json::json!({"a": content.summary, "b": null, "c": "s3cret", "d": 91.7});
        assert_eq!(body, expected);
    }

    #[test]
    fn text_is_written_as_it_is() {
        let text = BodyTemplate {
            content_type: "text/plain".to_owned(),
            ..template("{{ severity }}: {{ summary }}")
        };
        let content = sample(NoticeKind::Firing);
        let expected = format!("WARNING: {}", content.summary);
        assert_eq!(rendered(&text, &content), expected);
    }

    #[test]
    fn output_that_is_not_json_is_an_error() {
        // Only notices that have ended lack the comma.
        let message = error("{\"a\": 1{% if not ended_at %},{% endif %} \"b\": 2}");
        assert!(message.contains("is not JSON"), "{message}");
    }
}
