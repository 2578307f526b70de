//! The summary of `recommend show`: the template, or with `--ai` the text of a language model.

use std::time::Duration;

use crate::args::parse_duration;
use crate::commands::prelude::*;
use crate::domain::recommendation::Recommendation;
use crate::domain::recommendation::prose::model;
use crate::domain::recommendation::prose::summary::summary as template;
use crate::http::{Client, Policy, Secret, Url};
use crate::llm::Endpoint;
use crate::output::recommend::show::{AiRequest, Summary};
use crate::store::plans::catalogues;

/// The language model and its endpoint.
#[derive(Args, Debug)]
#[command(next_help_heading = "Summary by a language model")]
pub struct AiArgs {
    /// Let a language model write the summary
    ///
    /// The model receives the facts as JSON, without resources, ids and names, and answers with short fields. A field
    /// with a number, time or plan that is not in its facts, or a link, is dropped; its other words are not checked,
    /// so the text is labelled with the name of the model. If too little is left, the summary is the template.
    #[arg(long)]
    pub ai: bool,

    /// Print the request of --ai without sending it
    #[arg(long)]
    pub ai_dry_run: bool,

    /// Endpoint without /chat/completions: https://..., or http:// on this machine
    #[arg(
        long,
        value_name = "URL",
        env = "USAGECTL_AI_URL",
        hide_env_values = true
    )]
    ai_url: Option<String>,

    /// Name of the model at the endpoint
    #[arg(long, value_name = "NAME", env = "USAGECTL_AI_MODEL")]
    ai_model: Option<String>,

    /// Environment variable with the API key, if the endpoint requires one
    #[arg(long, value_name = "VAR", env = "USAGECTL_AI_KEY_VARIABLE")]
    ai_key_variable: Option<String>,

    /// Maximum time for the answer
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    ai_timeout: Duration,
}

impl AiArgs {
    /// The endpoint, without its key.
    fn endpoint(&self) -> Result<Endpoint> {
        let missing = |what: &str| {
            let message = format!("--ai requires {what}");
            Error::usage(message).with_next("usagectl recommend show --help")
        };
        let given = |value: &Option<String>, what| value.clone().ok_or_else(|| missing(what));
        let url = given(&self.ai_url, "--ai-url or USAGECTL_AI_URL")?;
        let base = Url::parse(&url).map_err(|error| missing(&format!("a valid URL: {error}")))?;
        let allowed = Client::new(Policy::default()).allows(&base);
        allowed.map_err(|error| missing(&format!("a safe URL: {error}")))?;
        Ok(Endpoint {
            base,
            model: given(&self.ai_model, "--ai-model or USAGECTL_AI_MODEL")?,
            key: None,
            timeout: self.ai_timeout,
        })
    }
}

/// The request that `--ai` would send.
pub(super) fn request(it: &Recommendation, args: &AiArgs) -> Result<AiRequest> {
    let facts = it.facts().ok_or_else(|| without_facts(it))?;
    let endpoint = args.endpoint()?;
    let url = endpoint.url().map_err(Error::usage)?;
    Ok(AiRequest {
        url: url.without_query(),
        key_variable: args.ai_key_variable.clone(),
        body: endpoint.body(&model::facts_json(facts)),
    })
}

/// The summary; none if another program created the recommendation.
pub(super) fn summary(
    context: &mut Context,
    db: &mut Db,
    it: &Recommendation,
    args: &AiArgs,
) -> Result<Option<Summary>> {
    let facts = match it.facts() {
        Some(facts) => facts,
        None if args.ai => return Err(without_facts(it)),
        None => return Ok(None),
    };
    let mut summary = Summary {
        text: template(facts),
        model: None,
        refused: None,
    };
    if args.ai {
        let mut endpoint = args.endpoint()?;
        if let Some(variable) = &args.ai_key_variable {
            let hint = "set the variable, or omit --ai-key-variable";
            let key = Secret::from_variable(variable);
            endpoint.key = Some(key.map_err(|error| Error::usage(error).with_next(hint))?);
        }
        let plans = catalogues::active(db)?.plans.into_iter();
        let plans: Vec<String> = plans.map(|plan| plan.name).collect();
        let json = model::facts_json(facts);
        let answer = endpoint.ask(&json);
        match answer.and_then(|it| model::text(&it, &json, &plans)) {
            Ok(text) => (summary.text, summary.model) = (text, Some(endpoint.model)),
            Err(reason) => {
                context.warn(format_args!("the summary is the template: {reason}"));
                summary.refused = Some(reason);
            }
        }
    }
    Ok(Some(summary))
}

fn without_facts(it: &Recommendation) -> Error {
    let id = printable(&it.id);
    let message = format!("{id} was created by another program and has no figures to summarize");
    Error::message(Exit::Refused, message).with_next("usagectl recommend run")
}
