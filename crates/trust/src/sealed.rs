//! Private keys sealed with a password, as cosign keeps them: JSON with scrypt's parameters and a NaCl secretbox.
//!
//! ```json
//! {"kdf":{"name":"scrypt","params":{"N":65536,"r":8,"p":1},"salt":"…"},
//!  "cipher":{"name":"nacl/secretbox","nonce":"…"},"ciphertext":"…"}
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Key, Nonce, XSalsa20Poly1305};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::TrustError;

/// What a hostile file may make us do: 1 GiB of memory at most.
const MAX_N: u64 = 1 << 20;
const MAX_R: u32 = 8;
const MAX_P: u32 = 16;

#[derive(Serialize, Deserialize)]
struct Sealed {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// cosign's parameters.
const PARAMS: Params = Params { n: 65_536, r: 8, p: 1 };

/// Opens what was sealed.
pub(crate) fn open(json: &[u8], password: &[u8]) -> Result<Vec<u8>, TrustError> {
    let bad = TrustError::PrivateKey;
    let sealed: Sealed = serde_json::from_slice(json).map_err(|_| bad("not sealed as cosign does it"))?;
    if sealed.kdf.name != "scrypt" || sealed.cipher.name != "nacl/secretbox" {
        return Err(bad("sealed in another way than with scrypt and secretbox"));
    }
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| bad("not base64"));
    let (salt, nonce) = (decode(&sealed.kdf.salt)?, decode(&sealed.cipher.nonce)?);
    let nonce: [u8; 24] = nonce.try_into().map_err(|_| bad("nonce of another length than 24"))?;
    let cipher = cipher(password, &salt, sealed.kdf.params)?;
    let opened = cipher.decrypt(&Nonce::from(nonce), decode(&sealed.ciphertext)?.as_slice());
    opened.map_err(|_| TrustError::Password)
}

/// Seals a secret.
pub(crate) fn seal(secret: &[u8], password: &[u8]) -> Result<Vec<u8>, TrustError> {
    let random = SystemRandom::new();
    let (mut salt, mut nonce) = ([0; 32], [0; 24]);
    random.fill(&mut salt).and_then(|()| random.fill(&mut nonce)).map_err(|_| TrustError::Random)?;
    let cipher = cipher(password, &salt, PARAMS)?;
    let sealed = cipher.encrypt(&Nonce::from(nonce), secret).map_err(|_| TrustError::Random)?;
    let document = Sealed {
        kdf: Kdf { name: "scrypt".into(), params: PARAMS, salt: STANDARD.encode(salt) },
        cipher: Cipher { name: "nacl/secretbox".into(), nonce: STANDARD.encode(nonce) },
        ciphertext: STANDARD.encode(sealed),
    };
    serde_json::to_vec(&document).map_err(|_| TrustError::Random)
}

fn cipher(password: &[u8], salt: &[u8], params: Params) -> Result<XSalsa20Poly1305, TrustError> {
    let Params { n, r, p } = params;
    let sane =
        n.is_power_of_two() && n > 1 && n <= MAX_N && (1..=MAX_R).contains(&r) && (1..=MAX_P).contains(&p);
    let bad = || TrustError::PrivateKey("scrypt parameters out of bounds");
    if !sane {
        return Err(bad());
    }
    let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| bad())?;
    let params = scrypt::Params::new(log_n, r, p).map_err(|_| bad())?;
    let mut key = [0; 32];
    scrypt::scrypt(password, salt, &params, &mut key).map_err(|_| bad())?;
    Ok(XSalsa20Poly1305::new(&Key::from(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_password_only() {
        let sealed = seal(b"secret", b"pw").unwrap();
        assert_eq!(open(&sealed, b"pw").unwrap(), b"secret");
        assert!(matches!(open(&sealed, b"other"), Err(TrustError::Password)));
    }

    #[test]
    fn parameters_have_bounds() {
        let with = |n: &str| {
            format!(
                r#"{{"kdf":{{"name":"scrypt","params":{{"N":{n},"r":8,"p":1}},"salt":""}},
                    "cipher":{{"name":"nacl/secretbox","nonce":"{}"}},"ciphertext":""}}"#,
                STANDARD.encode([0; 24])
            )
        };
        for n in ["0", "1", "3", "4294967296", "18446744073709551615"] {
            let error = open(with(n).as_bytes(), b"").unwrap_err().to_string();
            assert_eq!(error, "invalid private key: scrypt parameters out of bounds", "{n}");
        }
        assert!(open(b"{}", b"").is_err());
    }
}
