//! The prose of `recommend show`: the template, or with `--ai` what a language model wrote and the verifier let
//! pass.

use std::time::Duration;

use clap::Args;

use crate::args::parse_duration;
use crate::context::Context;
use crate::domain::recommendation::Recommendation;
use crate::domain::recommendation::prose::template::{Narrative, Prose, Story};
use crate::error::{Error, Exit, Result};
use crate::http::{Client, Policy, Secret, Url};
use crate::llm;
use crate::llm::Endpoint;
use crate::store::db::Db;
use crate::store::recommendation::narratives;

/// Whom to ask for prose.
#[derive(Args, Debug)]
#[command(next_help_heading = "Prose by a language model")]
pub struct AiArgs {
    /// Let a language model write the summary
    ///
    /// It is sent the names of slots and never a figure, a plan or a name; this program fills the slots. Whatever
    /// has a number or a claim of its own in it is refused: it is asked once more, then the template stands. What
    /// passed is kept until the figures change.
    #[arg(long)]
    pub ai: bool,

    /// Print the request that --ai would send, and send nothing
    #[arg(long)]
    pub ai_dry_run: bool,

    /// The endpoint, without /chat/completions: https://..., or http:// on this machine
    #[arg(
        long,
        value_name = "URL",
        env = "USAGECTL_AI_URL",
        hide_env_values = true
    )]
    ai_url: Option<String>,

    /// The model, as the endpoint calls it
    #[arg(long, value_name = "NAME", env = "USAGECTL_AI_MODEL")]
    ai_model: Option<String>,

    /// The environment variable that holds the key, if the endpoint wants one
    #[arg(long, value_name = "VARIABLE", env = "USAGECTL_AI_KEY_VARIABLE")]
    ai_key_variable: Option<String>,

    /// How long asking may take, all in all
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30s")]
    ai_timeout: Duration,
}

impl AiArgs {
    /// The endpoint they name, without its key.
    fn endpoint(&self) -> Result<Endpoint> {
        let missing = |what: &str| {
            let message = format!("--ai needs {what}");
            Error::usage(message).with_next("usagectl recommend show --help")
        };
        let url = self.ai_url.as_deref();
        let url = url.ok_or_else(|| missing("--ai-url or USAGECTL_AI_URL"))?;
        let base = Url::parse(url).map_err(|error| missing(&format!("an endpoint: {error}")))?;
        Client::new(Policy::default())
            .allows(&base)
            .map_err(|error| missing(&format!("a safe endpoint: {error}")))?;
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
pub(super) fn dry_run(it: &Recommendation, args: &AiArgs) -> Result<String> {
    let facts = it.facts().ok_or_else(|| without_facts(it))?;
    let key = args.ai_key_variable.as_deref();
    llm::dry_run(&args.endpoint()?, &Story::of(facts), key).map_err(Error::usage)
}

/// The prose about a recommendation; none if another program made it. With `--ai` the database is written.
pub(super) fn prose(
    context: &mut Context,
    db: &mut Db,
    it: &Recommendation,
    args: &AiArgs,
) -> Result<Option<Prose>> {
    let (Some(facts), Some(own)) = (it.facts(), it.own.as_ref()) else {
        return match args.ai {
            true => Err(without_facts(it)),
            false => Ok(None),
        };
    };
    let story = Story::of(facts);
    if !args.ai {
        return Ok(Some(Prose::Template(story.template())));
    }
    let mut endpoint = args.endpoint()?;
    let kept = narratives::of(db, &it.id)?;
    if let Some(kept) = kept.filter(|kept| kept.is_of(&own.facts.hash, &endpoint.model)) {
        return Ok(Some(Prose::Written(kept)));
    }
    if let Some(variable) = &args.ai_key_variable {
        let key = Secret::from_env(variable);
        endpoint.key =
            Some(key.map_err(|error| Error::usage(error).with_next("set it, or leave it out"))?);
    }
    let (text, refused) = match llm::ask(&endpoint, &story) {
        Ok(text) => (text, None),
        Err(reason) => {
            context.warn(format_args!("the summary is the template: {reason}"));
            (story.template(), Some(reason))
        }
    };
    let narrative = Narrative {
        facts_hash: own.facts.hash.clone(),
        model: endpoint.model,
        text,
        refused,
        created_at: context.now,
    };
    narratives::put(db, &it.id, &narrative)?;
    Ok(Some(Prose::Written(narrative)))
}

fn without_facts(it: &Recommendation) -> Error {
    let message = format!(
        "{} was made by another program: there are no figures of ours to tell of",
        crate::output::printable(&it.id)
    );
    Error::message(Exit::Refused, message).with_next("usagectl recommend run")
}
