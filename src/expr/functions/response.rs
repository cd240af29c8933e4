//! Functions that change the page's response. Here is checked what can never be a header; the host decides about the rest.

use super::super::error::EvalError;
use super::super::host::Host;
use super::super::scope::Scope;
use super::super::value::Value;
use super::Arguments;

type Result = std::result::Result<Value, EvalError>;

const EMPTY: Value = Value::Missing;

/// `$add_header(name, value)`.
pub(super) fn add_header(arguments: &Arguments<'_>, _: &mut Scope, host: &mut dyn Host) -> Result {
    let (name, value) = (arguments.text(0)?, arguments.text(1)?);
    if name.is_empty() || !name.iter().all(|byte| is_token_byte(*byte)) {
        return Err(arguments.wrong(0, "the name of a header"));
    }
    if breaks_a_line(&value) {
        return Err(arguments.wrong(1, "a value without CR, LF and NUL"));
    }
    let done = host.add_header(&name, &value);
    done.map_err(|refusal| arguments.refused(refusal.0))?;
    Ok(EMPTY)
}

/// `$set_response_code(code[, body])`.
pub(super) fn set_code(arguments: &Arguments<'_>, _: &mut Scope, host: &mut dyn Host) -> Result {
    let code = u16::try_from(arguments.integer(0)?).unwrap_or(0);
    if !(200..=599).contains(&code) {
        return Err(arguments.wrong(0, "a status from 200 to 599"));
    }
    // A page is whole, and there is one (RFC 9110 15.3.7, 15.4.5).
    if matches!(code, 206 | 304) {
        return Err(arguments.wrong(0, "a status other than 206 and 304"));
    }
    let body = match arguments.value(1) {
        Value::Missing => None,
        _ => Some(arguments.text(1)?),
    };
    let done = host.set_response_code(code, body.as_deref());
    done.map_err(|refusal| arguments.refused(refusal.0))?;
    Ok(EMPTY)
}

/// `$set_redirect(url)`.
pub(super) fn set_redirect(
    arguments: &Arguments<'_>,
    _: &mut Scope,
    host: &mut dyn Host,
) -> Result {
    let url = arguments.text(0)?;
    if url.is_empty() || breaks_a_line(&url) {
        return Err(arguments.wrong(0, "a URL without CR, LF and NUL"));
    }
    let done = host.set_redirect(&url);
    done.map_err(|refusal| arguments.refused(refusal.0))?;
    Ok(EMPTY)
}

fn breaks_a_line(value: &[u8]) -> bool {
    value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// RFC 9110, 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
