//! What expressions ask of the world outside the language, answered for one document of a page.

use crate::compose::page::Page;
use crate::compose::source::FragmentSource;
use crate::expr::{EvalError, Host, Refusal, Scope, Value};

/// A page, seen from one of its documents.
pub(super) struct World<'p, S: FragmentSource> {
    pub(super) page: &'p mut Page<S>,
    pub(super) document: usize,
}

impl<S: FragmentSource> World<'_, S> {
    fn may_write_head(&self) -> Result<(), Refusal> {
        if self.page.documents[self.document].writes_head {
            Ok(())
        } else {
            Err(Refusal("only the page itself changes the response"))
        }
    }
}

impl<S: FragmentSource> Host for World<'_, S> {
    fn call(&mut self, name: &[u8], scope: &mut Scope) -> Option<Result<Value, EvalError>> {
        let functions = self.page.documents[self.document].functions.as_ref()?;
        let code = *functions.get(name)?;
        Some(self.page.call_function(self.document, code, scope))
    }

    fn add_header(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        self.may_write_head()?;
        self.page.head.add(name, value)
    }

    fn set_response_code(&mut self, code: u16, body: Option<&[u8]>) -> Result<(), Refusal> {
        self.may_write_head()?;
        self.page.head.status = Some(code);
        if let Some(body) = body {
            self.page.head.body = Some(body.to_vec().into());
        }
        Ok(())
    }

    fn set_redirect(&mut self, url: &[u8]) -> Result<(), Refusal> {
        self.may_write_head()?;
        self.page.head.redirect(url)
    }

    fn now(&mut self) -> i64 {
        self.page.now()
    }

    fn random(&mut self, below: u64) -> u64 {
        rand::random_range(0..below.max(1))
    }
}
