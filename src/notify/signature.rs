//! Signatures of webhooks: ours, and that of the Standard Webhooks specification.

use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::format::hex;
use crate::http::Secret;

/// The prefix of a Standard Webhooks secret, before the Base64 of the key.
const STANDARD_PREFIX: &str = "whsec_";

/// The value of `X-Usagectl-Signature`.
pub(super) fn own(secret: &Secret, timestamp: &str, body: &[u8]) -> String {
    let code = hmac(secret.expose().as_bytes(), &[timestamp.as_bytes(), body]);
    format!("sha256={}", hex(&code))
}

/// The value of `webhook-signature`.
pub(super) fn standard(secret: &Secret, id: &str, timestamp: &str, body: &[u8]) -> String {
    let code = hmac(
        &standard_key(secret.expose()),
        &[id.as_bytes(), timestamp.as_bytes(), body],
    );
    format!("v1,{}", BASE64_STANDARD.encode(code))
}

/// The key of a secret `whsec_BASE64`; another secret is the key itself.
fn standard_key(secret: &str) -> Vec<u8> {
    let encoded = secret.strip_prefix(STANDARD_PREFIX);
    let decoded = encoded.and_then(|text| BASE64_STANDARD.decode(text).ok());
    decoded.unwrap_or_else(|| secret.as_bytes().to_vec())
}

/// The HMAC-SHA256 of these parts, joined by full stops.
fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // Never fails: HMAC accepts keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(&parts.join(&b'.'));
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_signature_equals_the_example_of_the_specification() {
        // From the specification's reference implementations.
        let secret = Secret::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signature = standard(
            &secret,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secret_that_is_not_base64_is_the_key() {
        assert_eq!(standard_key("whsec_a2V5"), b"key");
        for secret in ["a2V5", "whsec_?"] {
            assert_eq!(standard_key(secret), secret.as_bytes());
        }
    }
}
