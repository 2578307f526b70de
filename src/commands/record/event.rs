//! One record given by flags.

use crate::commands::prelude::*;
use crate::ingest::{Field, Input};

/// One record, instead of files.
#[derive(Args, Debug)]
#[command(next_help_heading = "One record, instead of files")]
pub(super) struct EventArgs {
    /// API called
    #[arg(long, value_name = "NAME", conflicts_with_all = ["files", "replay", "input_format", "map", "set", "preset", "mapping", "unknown", "null", "delimiter"])]
    api: Option<String>,
    /// Path called
    #[arg(long, value_name = "PATH", requires = "api")]
    endpoint: Option<String>,
    /// HTTP method [default: GET]
    #[arg(long, requires = "api", hide_short_help = true)]
    method: Option<String>,
    /// Time of the call [default: now]
    #[arg(long, value_name = "TIME", requires = "api", hide_short_help = true)]
    timestamp: Option<String>,
    /// Whether the call succeeded [default: by status and error type]
    #[arg(long, value_name = "BOOL", requires = "api", hide_short_help = true)]
    success: Option<String>,
    /// HTTP status
    #[arg(long, requires = "api")]
    status: Option<String>,
    /// Response time in milliseconds
    #[arg(long, value_name = "MS", requires = "api")]
    response_time: Option<String>,
    /// Size of the request
    #[arg(long, value_name = "BYTES", requires = "api", hide_short_help = true)]
    request_size: Option<String>,
    /// Size of the response
    #[arg(long, value_name = "BYTES", requires = "api", hide_short_help = true)]
    response_size: Option<String>,
    /// Class of the error [default: by status]
    #[arg(long, value_name = "TYPE", requires = "api", hide_short_help = true)]
    error_type: Option<String>,
    /// Message of the error
    #[arg(long, value_name = "TEXT", requires = "api", hide_short_help = true)]
    error_message: Option<String>,
    /// Cost in credits
    #[arg(
        long,
        value_name = "CREDITS",
        requires = "api",
        hide_short_help = true,
        allow_hyphen_values = true
    )]
    cost: Option<String>,
    /// The response came from a cache
    #[arg(long, requires = "api", hide_short_help = true)]
    cached: bool,
    /// User on whose behalf the API was called
    #[arg(long, value_name = "USER", requires = "api", hide_short_help = true)]
    user_id: Option<String>,
    /// Unique id of the call
    #[arg(long, requires = "api", hide_short_help = true)]
    id: Option<String>,
}

impl EventArgs {
    /// The record as CSV, in which values of any type are text, as on the command line.
    pub(super) fn input(&self) -> Result<Option<Input>> {
        if self.api.is_none() {
            return Ok(None);
        }
        let cached = self.cached.then(|| "true".to_owned());
        let values = [
            (Field::ApiName, &self.api),
            (Field::Endpoint, &self.endpoint),
            (Field::Method, &self.method),
            (Field::Timestamp, &self.timestamp),
            (Field::Success, &self.success),
            (Field::StatusCode, &self.status),
            (Field::ResponseTime, &self.response_time),
            (Field::RequestSize, &self.request_size),
            (Field::ResponseSize, &self.response_size),
            (Field::ErrorType, &self.error_type),
            (Field::ErrorMessage, &self.error_message),
            (Field::CostCredits, &self.cost),
            (Field::Cached, &cached),
            (Field::UserId, &self.user_id),
            (Field::Id, &self.id),
        ];
        let given = values
            .iter()
            .filter_map(|(field, value)| Some((field, value.as_ref()?)));
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(given.clone().map(|(field, _)| field.name()))?;
        csv.write_record(given.map(|(_, value)| value))?;
        let csv = csv.into_inner().map_err(|error| error.into_error())?;
        Ok(Some(Input::text("", csv)))
    }
}
