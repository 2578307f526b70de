//! Runs fuzz targets: see README.md.

mod mutate;
mod targets;

use std::collections::HashSet;
use std::panic;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mutate::Random;
use targets::{TARGETS, Target};

/// A case that takes longer is a failure: inputs are at most [`mutate::LARGEST_BYTES`].
const SLOWEST: Duration = Duration::from_secs(20);

/// The most inputs kept because their results were new.
const KEPT: usize = 4_000;

const USAGE: &str = "usage: usagectl-fuzz TARGET|all [--seconds N] [--seed S] [--hex INPUT]";

struct Args {
    target: String,
    seconds: u64,
    seed: u64,
    input: Option<Vec<u8>>,
}

fn args() -> Option<Args> {
    let mut words = std::env::args().skip(1);
    let mut args = Args {
        target: words.next()?,
        seconds: 60,
        seed: 1,
        input: None,
    };
    while let Some(flag) = words.next() {
        let value = words.next()?;
        match flag.as_str() {
            "--seconds" => args.seconds = value.parse().ok()?,
            "--seed" => args.seed = value.parse().ok()?,
            "--hex" => args.input = Some(from_hex(&value)?),
            _ => return None,
        }
    }
    Some(args)
}

fn main() -> ExitCode {
    let Some(args) = args() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let chosen: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| args.target == "all" || args.target == target.name)
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!(
            "unknown target {}: expected all or one of {}",
            args.target,
            names.join(", ")
        );
        return ExitCode::from(2);
    }
    panic::set_hook(Box::new(|info| {
        if let Ok(mut place) = PANIC.lock() {
            *place = info.to_string();
        }
    }));
    let time = Duration::from_secs(args.seconds) / chosen.len() as u32;
    let mut failed = false;
    for target in chosen {
        let result = match &args.input {
            Some(input) => run_case(target, input).map(|_| 1),
            None => fuzz(target, args.seed, time),
        };
        match result {
            Ok(cases) => println!("{}: {cases} cases, no failure", target.name),
            Err(reason) => {
                println!("{}: FAILED with seed {}: {reason}", target.name, args.seed);
                failed = true;
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

/// The message of the last panic.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// Runs one case and returns the kind of its result.
fn run_case(target: &Target, input: &[u8]) -> Result<u64, String> {
    let began = Instant::now();
    let result = panic::catch_unwind(|| (target.run)(input)).unwrap_or_else(|_| {
        let message = PANIC.lock().map(|text| text.clone());
        Err(format!("panic: {}", message.unwrap_or_default()))
    });
    match result {
        Ok(_) if began.elapsed() > SLOWEST => Err(format!("took {:?}", began.elapsed())),
        result => result,
    }
    .map_err(|reason| format!("{reason}\n  --hex {}", to_hex(input)))
}

fn fuzz(target: &Target, seed: u64, time: Duration) -> Result<u64, String> {
    let mut random = Random::new(seed);
    let mut corpus = (target.seeds)();
    let mut kinds = HashSet::new();
    for input in &corpus {
        kinds.insert(run_case(target, input)?);
    }
    let began = Instant::now();
    let mut cases = corpus.len() as u64;
    while began.elapsed() < time {
        let input = mutate::mutated(&mut random, &corpus, target.tokens);
        let kind = run_case(target, &input)?;
        cases += 1;
        if kinds.insert(kind) && corpus.len() < KEPT {
            corpus.push(input);
        }
    }
    println!("{}: {} kinds of results", target.name, kinds.len());
    Ok(cases)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
