//! One table of the file: hands out its settings by key and refuses the keys that nobody asked for.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::config::file::faults::{Faults, error};
use crate::config::file::setting::Setting;
use crate::diagnostic::nearest;

/// One table, read key by key. [`close`](Self::close) ends the reading and reports what is left over.
pub(super) struct Table<'a> {
    /// Its dotted name; empty for the file itself.
    pub(super) name: String,
    /// Its header, or the whole of an inline table.
    pub(super) span: Range<usize>,
    entries: &'a DeTable<'a>,
    /// The keys that were asked for.
    known: Vec<&'static str>,
    /// Those of the contract that are not built.
    declined: Vec<&'static str>,
    faults: &'a Faults<'a>,
}

impl<'a> Table<'a> {
    /// The file itself.
    pub(super) fn root(entries: &'a DeTable<'a>, faults: &'a Faults<'a>) -> Self {
        Self {
            name: String::new(),
            span: 0..0,
            entries,
            known: Vec::new(),
            declined: Vec::new(),
            faults,
        }
    }

    /// A setting that must be a table, or refused with what is accepted.
    pub(super) fn of(setting: &Setting<'a>, accepted: &str) -> Option<Self> {
        match setting.value {
            DeValue::Table(entries) => Some(Self {
                name: setting.name.clone(),
                span: setting.span.clone(),
                entries,
                known: Vec::new(),
                declined: Vec::new(),
                faults: setting.faults,
            }),
            _ => setting.refuse(accepted),
        }
    }

    /// The setting of `key`, if the table has it.
    pub(super) fn setting(&mut self, key: &'static str) -> Option<Setting<'a>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.lookup(key)
    }

    fn lookup(&self, key: &str) -> Option<Setting<'a>> {
        let value = self.entries.get(key)?;
        Some(Setting::new(self.path(key), value, self.faults))
    }

    /// The setting of `key`, or its absence reported with what is accepted.
    pub(super) fn required(&mut self, key: &'static str, accepted: &str) -> Option<Setting<'a>> {
        let setting = self.setting(key);
        if setting.is_none() {
            let message = format!("`{}` is missing", self.path(key));
            let fault = error(self.span.clone(), message);
            self.faults
                .report_absent(fault.help(format!("accepted: {accepted}")));
        }
        setting
    }

    /// Reads `key` into `field`; where it is absent or refused, the field keeps its default.
    pub(super) fn set<T>(
        &mut self,
        key: &'static str,
        field: &mut T,
        read: impl FnOnce(&Setting<'a>) -> Option<T>,
    ) {
        if let Some(value) = self.setting(key).as_ref().and_then(read) {
            *field = value;
        }
    }

    /// The table of `key`, if there is one.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Self> {
        let setting = self.setting(key)?;
        let accepted = format!("a section `[{}]`", setting.name);
        Self::of(&setting, &accepted)
    }

    /// Every entry under a name that is the author's: name, place of the name, setting.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'a str, Range<usize>, Setting<'a>)> {
        self.entries.iter().map(|(key, value)| {
            let setting = Setting::new(self.path(key.get_ref()), value, self.faults);
            (key.get_ref().as_ref(), key.span(), setting)
        })
    }

    /// A key that belongs to the contract and is not built: refused.
    pub(super) fn unsupported(&mut self, key: &'static str) {
        self.declined.push(key);
        if let Some(setting) = self.lookup(key) {
            let fault = setting.error(format!("`{}` is not supported yet", setting.name));
            self.faults.report(fault.help("leave it out"));
        }
    }

    /// Refuses every key that was not asked for.
    pub(super) fn close(self) {
        for (key, value) in self.entries {
            let word = key.get_ref().as_ref();
            if self.known.contains(&word) || self.declined.contains(&word) {
                continue;
            }
            let span = Some(key.span())
                .filter(|span| !span.is_empty())
                .unwrap_or_else(|| value.span());
            let place = match self.name.as_str() {
                "" => String::new(),
                name => format!(" in `{name}`"),
            };
            let fault = error(span, format!("unknown key `{word}`{place}"));
            self.faults.report(fault.help(self.advice(word)));
        }
    }

    fn advice(&self, word: &str) -> String {
        match nearest(word, self.known.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("accepted: {}", self.known.join(", ")),
        }
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }
}
