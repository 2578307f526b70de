//! The summary of `recommend show`: the template, or with `--ai` the verified text of a language model.

use std::time::Duration;

use crate::args::parse_duration;
use crate::commands::prelude::*;
use crate::domain::recommendation::Recommendation;
use crate::domain::recommendation::prose::narrative::Narrative;
use crate::domain::recommendation::prose::story::Story;
use crate::domain::recommendation::prose::template::template;
use crate::http::{Client, Policy, Secret, Url};
use crate::llm::{self, Endpoint};
use crate::output::recommend::show::{AiRequest, Summary};
use crate::store::recommendation::narratives;

/// The language model and its endpoint.
#[derive(Args, Debug)]
#[command(next_help_heading = "Summary by a language model")]
pub struct AiArgs {
    /// Let a language model write the summary
    ///
    /// The model receives names of slots, which this program fills; it never receives figures, plans or names. An
    /// answer with numbers or unsupported claims is refused and requested once more; then the template is used. An
    /// accepted summary is stored until the figures change.
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

    /// Maximum time for both attempts together
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
    ai_timeout: Duration,
}

impl AiArgs {
    /// Whether the command stores a summary.
    pub fn writes(&self) -> bool {
        self.ai && !self.ai_dry_run
    }

    /// The endpoint, without its key.
    fn endpoint(&self) -> Result<Endpoint> {
        let missing = |what: &str| {
            let message = format!("--ai requires {what}");
            Error::usage(message).with_next("usagectl recommend show --help")
        };
        let url = self.ai_url.as_deref();
        let url = url.ok_or_else(|| missing("--ai-url or USAGECTL_AI_URL"))?;
        let base = Url::parse(url).map_err(|error| missing(&format!("a valid URL: {error}")))?;
        Client::new(Policy::default())
            .allows(&base)
            .map_err(|error| missing(&format!("a safe URL: {error}")))?;
        let model = self.ai_model.clone();
        Ok(Endpoint {
            base,
            model: model.ok_or_else(|| missing("--ai-model or USAGECTL_AI_MODEL"))?,
            key: None,
            timeout: self.ai_timeout,
        })
    }
}

/// The request that `--ai` would send.
pub(super) fn request(it: &Recommendation, args: &AiArgs) -> Result<AiRequest> {
    let facts = it.facts().ok_or_else(|| without_facts(it))?;
    let (url, body) = llm::request(&args.endpoint()?, &Story::of(facts)).map_err(Error::usage)?;
    Ok(AiRequest {
        url,
        key_variable: args.ai_key_variable.clone(),
        body,
    })
}

/// The summary; none if another program created the recommendation. With `--ai` it is stored.
pub(super) fn summary(
    context: &mut Context,
    db: &mut Db,
    it: &Recommendation,
    args: &AiArgs,
) -> Result<Option<Summary>> {
    let (Some(facts), Some(tracking)) = (it.facts(), it.tracking.as_ref()) else {
        return if args.ai {
            Err(without_facts(it))
        } else {
            Ok(None)
        };
    };
    let story = Story::of(facts);
    if !args.ai {
        return Ok(Some(Summary::by_template(template(&story))));
    }
    let mut endpoint = args.endpoint()?;
    let stored = narratives::find(db, &it.id)?;
    let is_current = |it: &Narrative| it.is_current(&tracking.facts.hash, &endpoint.model);
    if let Some(stored) = stored.filter(is_current) {
        return Ok(Some(stored.into()));
    }
    if let Some(variable) = &args.ai_key_variable {
        let key = Secret::from_variable(variable).map_err(|error| {
            Error::usage(error).with_next("set the variable, or omit --ai-key-variable")
        })?;
        endpoint.key = Some(key);
    }
    let (text, refused) = match llm::ask(&endpoint, &story) {
        Ok(text) => (text, None),
        Err(reason) => {
            context.warn(format_args!("the summary is the template: {reason}"));
            (template(&story), Some(reason))
        }
    };
    let narrative = Narrative {
        facts_hash: tracking.facts.hash.clone(),
        model: endpoint.model,
        text,
        refused,
        created_at: context.now,
    };
    narratives::upsert(db, &it.id, &narrative)?;
    Ok(Some(narrative.into()))
}

fn without_facts(it: &Recommendation) -> Error {
    let message = format!(
        "{} was created by another program and has no figures to summarize",
        printable(&it.id)
    );
    Error::message(Exit::Refused, message).with_next("usagectl recommend run")
}
