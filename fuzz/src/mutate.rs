//! Mutates inputs.

/// The largest input. Records are limited to 1 MiB; nothing below depends on more.
pub const LARGEST_BYTES: usize = 64 * 1024;

/// A small generator (SplitMix64): the same seed gives the same sequence.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, or 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Values that often break a parser.
const COMMON: &[&str] = &[
    "0",
    "-0",
    "-1",
    "1e308",
    "1e-400",
    "NaN",
    "inf",
    "9223372036854775808",
    "2147483648",
    "0.1",
    "\0",
    "\u{feff}",
    "\u{202e}",
    "é",
    "\u{10ffff}",
    "\r\n",
    "\n\n",
    "\t",
    "\"",
    "\"\"",
    "'",
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    "\\",
    "\\u0000",
    "\\ud800",
    "#",
    "=",
    "%00",
    "%",
    "null",
    "true",
    "2026-01-31T12:00:00Z",
    "1969-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999999Z",
    "+262142-12-31T23:59:59Z",
    "2016-12-31T23:59:60Z",
    "2026-01-31 12:00:00",
];

pub fn mutated(random: &mut Random, corpus: &[Vec<u8>], tokens: &[&str]) -> Vec<u8> {
    let mut input = pick(random, corpus);
    for _ in 0..1 + random.below(6) {
        let at = random.below(input.len() + 1);
        let end = at + random.below((input.len() - at).min(64) + 1);
        match random.below(10) {
            0 if !input.is_empty() => {
                let at = random.below(input.len());
                input[at] ^= 1 << random.below(8);
            }
            1 => drop(input.drain(at..end)),
            2 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            3 => drop(input.splice(at..end, COMMON[random.below(COMMON.len())].bytes())),
            4 | 5 if !tokens.is_empty() => {
                let token = tokens[random.below(tokens.len())].bytes();
                input.splice(at..end, token);
            }
            6 => {
                let other = pick(random, corpus);
                let from = random.below(other.len() + 1);
                let to = from + random.below(other.len() - from + 1);
                input.splice(at..at, other[from..to].iter().copied());
            }
            7 => input.insert(at, random.next() as u8),
            8 => replace_number(random, &mut input, at),
            _ => input.truncate(at.max(1)),
        }
        input.truncate(LARGEST_BYTES);
    }
    input
}

fn pick(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    corpus
        .get(random.below(corpus.len()))
        .cloned()
        .unwrap_or_default()
}

/// Replaces the first number after `at`.
fn replace_number(random: &mut Random, input: &mut Vec<u8>, at: usize) {
    let Some(start) = input[at..].iter().position(u8::is_ascii_digit) else {
        return;
    };
    let start = at + start;
    let digits = input[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number = match random.below(4) {
        0 => random.next().to_string(),
        1 => random.below(1_000).to_string(),
        2 => format!("{}e{}", random.below(100), random.below(700) as i64 - 350),
        _ => format!("-{}.{}", random.below(10), random.next()),
    };
    input.splice(start..start + digits, number.into_bytes());
}
