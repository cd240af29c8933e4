//! Encodings and digests. What they encode is no longer tainted: it holds nothing that HTML, JSON or a URL would read.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use md5::{Digest as _, Md5};
use sha2::Sha256;

use super::super::error::EvalError;
use super::super::escape::{self, HEX_LOWER};
use super::super::value::Value;
use super::Arguments;

type Result = std::result::Result<Value, EvalError>;

/// Decodes the standard alphabet with its padding or without.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn html_encode(arguments: &Arguments<'_>) -> Result {
    written(arguments, escape::append_html)
}

pub(super) fn url_encode(arguments: &Arguments<'_>) -> Result {
    written(arguments, escape::append_url_component)
}

pub(super) fn html_decode(arguments: &Arguments<'_>) -> Result {
    let text = arguments.text(0)?;
    let mut out = Vec::with_capacity(text.len());
    let mut rest = &text[..];
    while let Some(place) = memchr::memchr(b'&', rest) {
        out.extend_from_slice(&rest[..place]);
        rest = &rest[place..];
        let (character, length) = html_reference(rest).unwrap_or(('&', 1));
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[length..];
    }
    out.extend_from_slice(rest);
    Ok(Value::text(out))
}

/// `%` and two digits become a byte; all else stays, `+` too.
pub(super) fn url_decode(arguments: &Arguments<'_>) -> Result {
    let text = arguments.text(0)?;
    let mut out = Vec::with_capacity(text.len());
    let mut rest = &text[..];
    while let Some((first, tail)) = rest.split_first() {
        let byte = match tail {
            [high, low, ..] if *first == b'%' => hex_byte(*high, *low),
            _ => None,
        };
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    Ok(Value::text(out))
}

pub(super) fn base64_encode(arguments: &Arguments<'_>) -> Result {
    Ok(Value::text(STANDARD.encode(arguments.text(0)?)))
}

pub(super) fn base64_decode(arguments: &Arguments<'_>) -> Result {
    match LENIENT.decode(arguments.text(0)?) {
        Ok(bytes) => Ok(Value::text(bytes)),
        Err(_) => Err(arguments.wrong(0, "text in base64")),
    }
}

pub(super) fn md5_hex(arguments: &Arguments<'_>) -> Result {
    Ok(hex(&Md5::digest(arguments.text(0)?)))
}

pub(super) fn sha256_hex(arguments: &Arguments<'_>) -> Result {
    Ok(hex(&Sha256::digest(arguments.text(0)?)))
}

fn written(arguments: &Arguments<'_>, write: fn(&[u8], &mut Vec<u8>)) -> Result {
    let mut out = Vec::new();
    write(&arguments.text(0)?, &mut out);
    Ok(Value::text(out))
}

fn hex(bytes: &[u8]) -> Value {
    let digits = bytes.iter().flat_map(|byte| {
        [
            HEX_LOWER[usize::from(byte >> 4)],
            HEX_LOWER[usize::from(byte & 0xf)],
        ]
    });
    Value::text(digits.collect::<Vec<u8>>())
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// The character reference at the start of a text, `&…;`, and its length: the five names that XML has, and numbers.
fn html_reference(text: &[u8]) -> Option<(char, usize)> {
    /// `&#x10FFFF;` is the longest with a meaning; leading zeros are allowed for within reason.
    const LONGEST: usize = 16;
    let text = &text[..text.len().min(LONGEST)];
    let end = memchr::memchr(b';', text)?;
    let character = match &text[1..end] {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        [b'#', b'x' | b'X', digits @ ..] => numbered(digits, 16)?,
        [b'#', digits @ ..] => numbered(digits, 10)?,
        _ => return None,
    };
    Some((character, end + 1))
}

fn numbered(digits: &[u8], radix: u32) -> Option<char> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    char::from_u32(u32::from_str_radix(digits, radix).ok()?)
}
