//! One SSI directive -> what it means: a function for each command, in the order of the language reference.

use bytes::Bytes;

use super::condition::{Condition, ConditionLimits};
use super::directive::{Directive, Parameter};
use super::issue::DirectiveFault;
use super::memo::Memo;
use super::ssi_text::SsiText;
use super::tree::{
    Config, Dca, Echo, Encoding, FragmentMethod, Include, Node, Set, SsiInclude, Text,
};
use crate::expr;

/// Reads a directive that stands for itself (not a pair, not a branch).
pub(super) fn node(
    directive: &Directive,
    offset: usize,
    in_string: bool,
) -> Result<Node, DirectiveFault> {
    match &directive.command[..] {
        b"include" => include(directive, offset, in_string),
        b"echo" => echo(directive, in_string),
        b"set" => set(directive, offset),
        b"config" => config(directive),
        other => {
            let name = &other[..other.len().min(64)];
            Err(DirectiveFault::Unknown(
                String::from_utf8_lossy(name).into_owned(),
            ))
        }
    }
}

fn include(directive: &Directive, offset: usize, in_string: bool) -> Result<Node, DirectiveFault> {
    const NAMES: [&str; 5] = ["virtual", "file", "stub", "wait", "set"];
    let [by_virtual, by_file, stub, wait, set] = take(directive, "include", NAMES)?;
    let (link, file) = match (by_virtual, by_file) {
        (Some(link), None) => (link, false),
        (None, Some(link)) => (link, true),
        (None, None) => return Err(missing("include", "virtual")),
        (Some(_), Some(_)) => return Err(together("include", "virtual and file")),
    };
    if set.is_some() && stub.is_some() {
        return Err(together("include", "set and stub"));
    }
    let wait = match wait.map(literal) {
        None => false,
        Some(value) if value == "yes" => true,
        Some(value) if value == "no" => false,
        Some(_) => return Err(value("include", "wait", "yes or no")),
    };
    let set = set
        .map(|set| variable_name("include", "set", set))
        .transpose()?;
    let src = text(link);
    Ok(Node::Include(Box::new(Include {
        offset,
        src: Some(match src.as_literal() {
            Some(constant) => Text::Constant(constant),
            None => Text::Ssi(src),
        }),
        alt: None,
        on_error_continue: false,
        max_wait: None,
        method: FragmentMethod::Get,
        entity: None,
        headers: Vec::new(),
        ttl: None,
        no_store: false,
        dca: Dca::Declared,
        in_string,
        ssi: Some(SsiInclude {
            file,
            stub: stub.map(literal),
            wait: wait || set.is_some(),
            set,
        }),
        memo: Memo::default(),
        resolved: Memo::default(),
    })))
}

/// `#block`: its name.
pub(super) fn block(directive: &Directive) -> Result<Bytes, DirectiveFault> {
    let [name] = take(directive, "block", ["name"])?;
    name.map(literal).ok_or_else(|| missing("block", "name"))
}

fn echo(directive: &Directive, in_string: bool) -> Result<Node, DirectiveFault> {
    let [variable, encoding, default] = take(directive, "echo", ["var", "encoding", "default"])?;
    let variable = variable.ok_or_else(|| missing("echo", "var"))?;
    let encoding = match encoding.map(literal) {
        None => Encoding::default(),
        Some(name) if name == "entity" => Encoding::Entity,
        Some(name) if name == "url" => Encoding::Url,
        Some(name) if name == "none" => Encoding::None,
        Some(_) => return Err(value("echo", "encoding", "entity, url or none")),
    };
    Ok(Node::Echo(Box::new(Echo {
        variable: text(variable),
        encoding,
        default: default.map(text),
        in_string,
    })))
}

fn set(directive: &Directive, offset: usize) -> Result<Node, DirectiveFault> {
    let [variable, assigned] = take(directive, "set", ["var", "value"])?;
    let variable = variable.ok_or_else(|| missing("set", "var"))?;
    let assigned = assigned.ok_or_else(|| missing("set", "value"))?;
    Ok(Node::Set(Box::new(Set {
        offset,
        variable: variable_name("set", "var", variable)?,
        value: text(assigned),
    })))
}

/// `#if`, `#elif`: the condition.
pub(super) fn condition(
    directive: &Directive,
    command: &'static str,
    limits: &expr::Limits,
) -> Result<Condition, DirectiveFault> {
    let [written] = take(directive, command, ["expr"])?;
    let written = written.ok_or_else(|| missing(command, "expr"))?;
    let limits = ConditionLimits {
        bytes: limits.expression_bytes,
        depth: limits.depth,
        regex: limits.regex_bytes,
    };
    Condition::parse(&written.value, written.quote, limits)
}

/// `#else`, `#endif`, `#endblock`: nothing may stand in them.
pub(super) fn bare(directive: &Directive, command: &'static str) -> Result<(), DirectiveFault> {
    take(directive, command, []).map(|_| ())
}

fn config(directive: &Directive) -> Result<Node, DirectiveFault> {
    let [message, time_format] = take(directive, "config", ["errmsg", "timefmt"])?;
    if message.is_none() && time_format.is_none() {
        return Err(missing("config", "errmsg"));
    }
    Ok(Node::Config(Box::new(Config {
        message: message.map(text),
        time_format: time_format.map(text),
    })))
}

/// The parameters of these names; any other, and one that stands there twice, is a fault, as in nginx and Apache.
fn take<'d, const N: usize>(
    directive: &'d Directive,
    command: &'static str,
    names: [&str; N],
) -> Result<[Option<&'d Parameter>; N], DirectiveFault> {
    let mut taken = [None; N];
    for parameter in &directive.parameters {
        let slot = names
            .iter()
            .position(|name| parameter.name == name.as_bytes());
        let Some(slot) = slot.map(|slot| &mut taken[slot]) else {
            let name = &parameter.name[..parameter.name.len().min(64)];
            return Err(DirectiveFault::Parameter {
                command,
                parameter: String::from_utf8_lossy(name).into_owned(),
            });
        };
        if slot.replace(parameter).is_some() {
            return Err(DirectiveFault::Duplicate { command });
        }
    }
    Ok(taken)
}

fn text(parameter: &Parameter) -> SsiText {
    SsiText::parse(&parameter.value, parameter.quote)
}

/// A value in which variables mean nothing: the name of a block, a keyword.
fn literal(parameter: &Parameter) -> Bytes {
    parameter.value.clone()
}

/// The name of a variable, in lower case: letters, digits, `_`.
fn variable_name(
    command: &'static str,
    parameter: &'static str,
    written: &Parameter,
) -> Result<Bytes, DirectiveFault> {
    let name = written.value.to_ascii_lowercase();
    let fits = !name.is_empty()
        && name.len() <= expr::name::LONGEST_NAME
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    if fits {
        Ok(name.into())
    } else {
        Err(value(command, parameter, "the name of a variable"))
    }
}

fn missing(command: &'static str, parameter: &'static str) -> DirectiveFault {
    DirectiveFault::Missing { command, parameter }
}

fn together(command: &'static str, parameters: &'static str) -> DirectiveFault {
    DirectiveFault::Together {
        command,
        parameters,
    }
}

fn value(command: &'static str, parameter: &'static str, accepted: &'static str) -> DirectiveFault {
    DirectiveFault::Value {
        command,
        parameter,
        accepted,
    }
}
