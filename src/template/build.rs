//! Tokens and their roles -> nodes. Open elements stand on a stack of frames here, never on the program's: the input decides
//! how deep they nest, up to the limit.

use bytes::Bytes;
use memchr::memmem;

use super::Settings;
use super::attributes::AttributeList;
use super::directive::Directive;
use super::esi::{Reader, place_in};
use super::issue::{DirectiveFault, Issue, IssueKind, Issues};
use super::outline::{Paired, Role};
use super::scan::{DirectiveToken, StartTag, Token, TokenKind};
use super::ssi;
use super::tree::{
    Assign, Assigned, Block, Body, Branch, Choose, Dynamic, Foreach, Function, If, Inline, Node,
    Return, Span, Template, Text, Try, When,
};
use crate::expr::{Expr, Interpolation, Name, Piece, Reference, Target};

/// Builds the template of a document.
pub(super) fn build(
    document: Bytes,
    settings: &Settings,
    tokens: &[Token],
    roles: &[Role],
    issues: Issues,
) -> Template {
    let mut builder = Builder {
        document: &document,
        settings,
        tokens,
        roles,
        issues,
        nodes: Vec::with_capacity(tokens.len()),
        frames: Vec::new(),
        current: Frame::new(Kind::Root, tokens.len(), false),
    };
    builder.run();
    let (nodes, root, issues) = builder.finish();
    let copied = tokens
        .iter()
        .filter(|token| matches!(token.kind, TokenKind::Text | TokenKind::Verbatim))
        .map(|token| token.end - token.start)
        .sum::<usize>();
    Template {
        has_tags: copied < document.len(),
        writes_head: writes_head(&document),
        reads_values: nodes.iter().any(Node::reads_values),
        escape: settings.escape,
        nodes,
        root,
        issues,
        document,
    }
}

/// Whether the bytes hold the name of a function that changes the response.
fn writes_head(document: &[u8]) -> bool {
    ["$add_header", "$set_response_code", "$set_redirect"]
        .iter()
        .any(|name| memmem::find(document, name.as_bytes()).is_some())
}

/// An open element.
struct Frame {
    kind: Kind,
    /// The index of the token before which it ends.
    end: usize,
    /// Whether text in it is interpolated.
    interpolated: bool,
    /// Whether it stands in a loop, in a function.
    in_loop: bool,
    in_function: bool,
    /// Whether it holds what a surrounding `try` must wait for.
    changes_state: bool,
    /// Whether it holds a `break` of a loop around it: a `try` in that loop must know its outcome first.
    breaks: bool,
    nodes: Vec<Node>,
}

enum Kind {
    Root,
    Vars,
    Choose(Choose),
    When {
        offset: usize,
        test: Option<Expr>,
        captures: Option<Name>,
    },
    Otherwise,
    Try {
        offset: usize,
        attempt: Option<Body>,
        except: Option<Body>,
    },
    Attempt,
    Except,
    Inline {
        offset: usize,
        name: Bytes,
    },
    Foreach {
        offset: usize,
        collection: Expr,
        item: Name,
    },
    Function(Name),
    Assign {
        offset: usize,
        target: Target,
    },
    If {
        /// The branch being read: its directive's place and condition; none in `#else`.
        open: Option<(usize, Option<super::ssi_text::Condition>)>,
        branches: Vec<Branch>,
    },
    Block(Bytes),
}

impl Frame {
    fn new(kind: Kind, end: usize, interpolated: bool) -> Self {
        Self {
            kind,
            end,
            interpolated,
            in_loop: false,
            in_function: false,
            changes_state: false,
            breaks: false,
            nodes: Vec::new(),
        }
    }
}

struct Builder<'a> {
    document: &'a Bytes,
    settings: &'a Settings,
    tokens: &'a [Token],
    roles: &'a [Role],
    issues: Issues,
    nodes: Vec<Node>,
    /// The elements around the current one, outermost first.
    frames: Vec<Frame>,
    current: Frame,
}

impl Builder<'_> {
    fn run(&mut self) {
        let mut index = 0;
        while index < self.tokens.len() {
            while self.current.end == index && !self.frames.is_empty() {
                self.close();
            }
            index = self.token(index);
        }
        while !self.frames.is_empty() {
            self.close();
        }
    }

    fn finish(mut self) -> (Vec<Node>, Body, Vec<Issue>) {
        let root = std::mem::take(&mut self.current.nodes);
        let root = self.body(root);
        (self.nodes, root, self.issues.finish())
    }

    /// Puts nodes where the template keeps them.
    fn body(&mut self, nodes: Vec<Node>) -> Body {
        let start = self.nodes.len() as u32;
        self.nodes.extend(nodes);
        Body {
            start,
            end: self.nodes.len() as u32,
        }
    }

    /// One token; gives the index to go on with.
    fn token(&mut self, index: usize) -> usize {
        let token = &self.tokens[index];
        let next = index + 1;
        match (&token.kind, self.roles[index]) {
            (TokenKind::Text, _) => self.text(token, self.current.interpolated),
            (TokenKind::Verbatim, _) => self.text(token, false),
            (TokenKind::End(_), _) => {}
            (TokenKind::Start(tag), Role::Leaf) => self.leaf(token, tag),
            (TokenKind::Start(tag), Role::Empty) => return self.element(token, tag, next, next),
            (TokenKind::Start(tag), Role::Open(end)) => return self.element(token, tag, next, end),
            // An element that is never closed counts as not written.
            (TokenKind::Start(_), _) => {}
            (TokenKind::Directive(directive), role) => {
                return self.directive(token, directive, role, next);
            }
        }
        next
    }

    fn tell(&mut self, token: &Token, kind: IssueKind) {
        self.issues.add(token.start, token.end - token.start, kind);
    }

    // Text.

    fn text(&mut self, token: &Token, interpolated: bool) {
        if let Some(parent) = self.only_branches() {
            let bytes = &self.document[token.start..token.end];
            if !bytes.trim_ascii().is_empty() {
                self.tell(token, IssueKind::BetweenBranches(parent));
            }
            return;
        }
        let bytes = self.document.slice(token.start..token.end);
        if !interpolated || memchr::memchr(b'$', &bytes).is_none() {
            self.push_text(token.start, token.end);
            return;
        }
        let interpolation = Interpolation::parse(&bytes, &self.settings.expressions);
        for issue in interpolation.issues() {
            self.issues.add(
                token.start + issue.offset,
                1,
                IssueKind::Suspect(issue.kind),
            );
        }
        self.note_interpolation(&interpolation);
        for piece in interpolation.pieces() {
            self.piece(token.start, piece);
        }
    }

    fn piece(&mut self, start: usize, piece: &Piece) {
        if let Piece::Literal(bytes) = piece
            && let Some(at) = place_in(self.document, bytes)
        {
            self.push_text(at, at + bytes.len());
            return;
        }
        self.current.nodes.push(Node::Dynamic(Box::new(Dynamic {
            offset: start,
            in_string: false,
            pieces: vec![piece.clone()],
        })));
    }

    /// Adds text, joined with the text before it where the document has nothing between the two.
    fn push_text(&mut self, start: usize, end: usize) {
        let (start, end) = (start as u32, end as u32);
        match self.current.nodes.last_mut() {
            Some(Node::Text(last)) if last.end == start => last.end = end,
            _ => self.current.nodes.push(Node::Text(Span { start, end })),
        }
    }

    /// The element that may hold nothing but its branches, when it is the current one.
    fn only_branches(&self) -> Option<&'static str> {
        match self.current.kind {
            Kind::Choose(_) => Some(Paired::Choose.label()),
            Kind::Try { .. } => Some(Paired::Try.label()),
            _ => None,
        }
    }

    // Elements without content.

    fn leaf(&mut self, token: &Token, tag: &StartTag) {
        if let (Some(parent), b"include" | b"eval" | b"break" | b"return") =
            (self.only_branches(), &tag.name[..])
        {
            self.tell(token, IssueKind::BetweenBranches(parent));
            return;
        }
        match &tag.name[..] {
            b"include" => self.include(token, tag, "esi:include"),
            b"eval" => self.include(token, tag, "esi:eval"),
            b"break" if self.current.in_loop => {
                self.current.breaks = true;
                self.current.nodes.push(Node::Break);
            }
            b"break" => self.tell(token, IssueKind::NothingToLeave("esi:break")),
            b"return" if self.current.in_function => self.return_value(token, tag),
            b"return" => self.tell(token, IssueKind::NothingToLeave("esi:return")),
            other => {
                let name = String::from_utf8_lossy(&other[..other.len().min(64)]).into_owned();
                self.tell(token, IssueKind::UnknownElement(name));
            }
        }
    }

    fn reader<'r>(&'r mut self, token: &Token, attributes: &'r AttributeList) -> Reader<'r> {
        Reader {
            document: self.document,
            limits: &self.settings.expressions,
            issues: &mut self.issues,
            at: (token.start, token.end - token.start),
            attributes,
        }
    }

    fn include(&mut self, token: &Token, tag: &StartTag, element: &'static str) {
        if self.current.in_function {
            self.tell(token, IssueKind::InFunction(element));
            return;
        }
        let include = Box::new(
            self.reader(token, &tag.attributes)
                .include(element, tag.in_string),
        );
        let calls = include.texts().any(|text| match text {
            Text::Esi(text) => text.touches_response() || text.references().any(is_own_call),
            _ => false,
        });
        self.current.changes_state |= calls;
        self.current.nodes.push(if element == "esi:eval" {
            self.current.changes_state = true;
            Node::Eval(include)
        } else {
            Node::Include(include)
        });
    }

    fn return_value(&mut self, token: &Token, tag: &StartTag) {
        if let Some(value) = self.reader(token, &tag.attributes).return_value() {
            self.note_expression(&value);
            self.current.nodes.push(Node::Return(Box::new(Return {
                offset: token.start,
                value,
            })));
        }
    }

    // Elements with content.

    /// An element whose content reaches from `next` to `end`; gives the index to go on with.
    fn element(&mut self, token: &Token, tag: &StartTag, next: usize, end: usize) -> usize {
        // `_of_tag` knows the name, or the role would be another.
        let Some(paired) = Paired::of_tag(&tag.name) else {
            return next;
        };
        if matches!(paired, Paired::Remove | Paired::Comment) {
            return end;
        }
        if let Err(kind) = self.fits(paired) {
            self.tell(token, kind);
            return end;
        }
        let Some(kind) = self.opened(token, tag, paired, end > next) else {
            return end;
        };
        let enters_loop = matches!(kind, Kind::Foreach { .. });
        let enters_function = matches!(kind, Kind::Function(_));
        let interpolated = self.current.interpolated
            || matches!(
                kind,
                Kind::Vars | Kind::Foreach { .. } | Kind::Function(_) | Kind::Assign { .. }
            );
        self.push(kind, end, interpolated);
        self.current.in_loop |= enters_loop;
        if enters_function {
            (self.current.in_function, self.current.in_loop) = (true, false);
        }
        if end == next {
            // Written with `/`, or with its end right behind its start.
            self.close_if_ended(end);
        }
        next
    }

    fn push(&mut self, kind: Kind, end: usize, interpolated: bool) {
        let mut frame = Frame::new(kind, end, interpolated);
        frame.in_loop = self.current.in_loop;
        frame.in_function = self.current.in_function;
        self.frames
            .push(std::mem::replace(&mut self.current, frame));
    }

    fn close_if_ended(&mut self, index: usize) {
        if self.current.end == index && !self.frames.is_empty() {
            self.close();
        }
    }

    /// Whether an element may stand here.
    fn fits(&self, paired: Paired) -> Result<(), IssueKind> {
        let parent = match paired {
            Paired::When | Paired::Otherwise => Some(Paired::Choose),
            Paired::Attempt | Paired::Except => Some(Paired::Try),
            _ => None,
        };
        let misplaced = |parent: Paired| IssueKind::Misplaced {
            element: paired.label(),
            parent: parent.label(),
        };
        let second = Err(IssueKind::Second(paired.label()));
        match (&self.current.kind, paired) {
            (Kind::Choose(_), Paired::When) => {}
            (Kind::Choose(choose), Paired::Otherwise) if choose.otherwise.is_some() => {
                return second;
            }
            (Kind::Choose(_), Paired::Otherwise) => {}
            (Kind::Try { attempt, .. }, Paired::Attempt) if attempt.is_some() => return second,
            (Kind::Try { except, .. }, Paired::Except) if except.is_some() => return second,
            (Kind::Try { .. }, Paired::Attempt | Paired::Except) => {}
            (Kind::Choose(_), _) => return Err(IssueKind::BetweenBranches(Paired::Choose.label())),
            (Kind::Try { .. }, _) => return Err(IssueKind::BetweenBranches(Paired::Try.label())),
            _ => {
                if let Some(parent) = parent {
                    return Err(misplaced(parent));
                }
            }
        }
        if paired == Paired::Inline && self.current.in_function {
            return Err(IssueKind::InFunction(paired.label()));
        }
        if self.frames.len() >= self.settings.nesting {
            return Err(IssueKind::Nesting(self.settings.nesting));
        }
        Ok(())
    }

    /// The frame that an element opens; none when it stands for itself or cannot be carried out.
    fn opened(
        &mut self,
        token: &Token,
        tag: &StartTag,
        paired: Paired,
        has_content: bool,
    ) -> Option<Kind> {
        let offset = token.start;
        let mut reader = self.reader(token, &tag.attributes);
        Some(match paired {
            Paired::Choose => Kind::Choose(Choose {
                branches: Vec::new(),
                otherwise: None,
            }),
            Paired::When => {
                let (offset, test, captures) = reader.when();
                if let Some(test) = &test {
                    self.note_expression(test);
                }
                Kind::When {
                    offset,
                    test,
                    captures,
                }
            }
            Paired::Otherwise => Kind::Otherwise,
            Paired::Try => Kind::Try {
                offset,
                attempt: None,
                except: None,
            },
            Paired::Attempt => Kind::Attempt,
            Paired::Except => Kind::Except,
            Paired::Vars => {
                if !has_content && let Some((offset, pieces)) = reader.vars_name() {
                    self.value(offset, pieces, tag.in_string);
                }
                Kind::Vars
            }
            Paired::Inline => Kind::Inline {
                offset,
                name: reader.inline_name()?,
            },
            Paired::Foreach => {
                let (collection, item) = reader.foreach()?;
                self.note_expression(&collection);
                Kind::Foreach {
                    offset,
                    collection,
                    item,
                }
            }
            Paired::Function => {
                let name = reader.function()?;
                self.current.changes_state = true;
                Kind::Function(name)
            }
            Paired::Assign => return self.assign(token, tag),
            // These never come here.
            Paired::Remove | Paired::Comment | Paired::If | Paired::Block => return None,
        })
    }

    /// `<esi:vars name="…"/>`.
    fn value(&mut self, offset: usize, pieces: Vec<Piece>, in_string: bool) {
        for piece in &pieces {
            if let Piece::Dynamic { expr, .. } = piece {
                self.note_expression(expr);
            }
        }
        self.current.nodes.push(Node::Dynamic(Box::new(Dynamic {
            offset,
            in_string,
            pieces,
        })));
    }

    fn assign(&mut self, token: &Token, tag: &StartTag) -> Option<Kind> {
        let (target, value) = self.reader(token, &tag.attributes).assign()?;
        self.current.changes_state = true;
        match value {
            None => Some(Kind::Assign {
                offset: token.start,
                target,
            }),
            Some(value) => {
                if let Some(value) = value {
                    self.current.nodes.push(Node::Assign(Box::new(Assign {
                        offset: token.start,
                        target,
                        value,
                    })));
                }
                None
            }
        }
    }

    // What makes a surrounding `try` wait.

    fn note_expression(&mut self, expr: &Expr) {
        self.current.changes_state |= expr.touches_response() || expr.references().any(is_own_call);
    }

    fn note_interpolation(&mut self, interpolation: &Interpolation) {
        self.current.changes_state |=
            interpolation.touches_response() || interpolation.references().any(is_own_call);
    }

    // Directives.

    fn directive(
        &mut self,
        token: &Token,
        directive: &DirectiveToken,
        role: Role,
        next: usize,
    ) -> usize {
        if let Some(parent) = self.only_branches() {
            self.tell(token, IssueKind::BetweenBranches(parent));
            return match role {
                Role::Open(end) => end,
                _ => next,
            };
        }
        let read = match &directive.directive {
            Ok(read) => read,
            Err(fault) => {
                self.message(token, fault.clone());
                return next;
            }
        };
        match role {
            Role::Open(end) if read.command == "if" => return self.open_if(token, read, next, end),
            Role::Open(end) => return self.open_block(token, read, next, end),
            Role::Branch => self.branch(token, read),
            Role::Close => {
                if let Err(fault) = ssi::bare(read, ending(read)) {
                    self.message(token, fault);
                }
            }
            Role::Unclosed => {
                let command = if read.command == "if" { "if" } else { "block" };
                self.message(token, DirectiveFault::Unclosed(command));
            }
            Role::Stray => self.message(token, DirectiveFault::Stray(ending(read))),
            Role::Leaf | Role::Empty => self.single(token, read, directive.in_string),
        }
        next
    }

    /// Tells a fault and emits the error message in its place.
    fn message(&mut self, token: &Token, fault: DirectiveFault) {
        self.tell(token, IssueKind::Directive(fault));
        if self.only_branches().is_none() {
            self.current.nodes.push(Node::Message);
        }
    }

    fn single(&mut self, token: &Token, directive: &Directive, in_string: bool) {
        match ssi::node(directive, token.start, in_string) {
            Ok(Node::Include(_)) if self.current.in_function => {
                self.tell(token, IssueKind::InFunction("#include"));
            }
            Ok(node) => {
                self.current.changes_state |= match &node {
                    Node::Set(_) | Node::Config(_) => true,
                    Node::Include(include) => {
                        include.ssi.as_ref().is_some_and(|ssi| ssi.set.is_some())
                    }
                    _ => false,
                };
                self.current.nodes.push(node);
            }
            Err(fault) => self.message(token, fault),
        }
    }

    fn open_if(&mut self, token: &Token, directive: &Directive, next: usize, end: usize) -> usize {
        if self.frames.len() >= self.settings.nesting {
            self.tell(token, IssueKind::Nesting(self.settings.nesting));
            return end;
        }
        let condition = self.condition(token, directive, "if");
        let kind = Kind::If {
            open: Some((token.start, condition)),
            branches: Vec::new(),
        };
        self.push(kind, end, self.current.interpolated);
        next
    }

    fn condition(
        &mut self,
        token: &Token,
        directive: &Directive,
        command: &'static str,
    ) -> Option<super::ssi_text::Condition> {
        match ssi::condition(directive, command, &self.settings.expressions) {
            Ok(condition) => Some(condition),
            Err(fault) => {
                self.tell(token, IssueKind::Directive(fault));
                None
            }
        }
    }

    fn branch(&mut self, token: &Token, directive: &Directive) {
        let is_elif = directive.command == "elif";
        // `#else` has been read: nothing may follow but `#endif`.
        if matches!(self.current.kind, Kind::If { open: None, .. }) {
            self.message(token, DirectiveFault::Stray(ending(directive)));
            return;
        }
        let following = if is_elif {
            Some((token.start, self.condition(token, directive, "elif")))
        } else {
            if let Err(fault) = ssi::bare(directive, "else") {
                self.tell(token, IssueKind::Directive(fault));
            }
            None
        };
        let nodes = std::mem::take(&mut self.current.nodes);
        let body = self.body(nodes);
        if let Kind::If { open, branches } = &mut self.current.kind
            && let Some((offset, condition)) = std::mem::replace(open, following)
        {
            branches.push(Branch {
                offset,
                condition,
                body,
            });
        }
    }

    fn open_block(
        &mut self,
        token: &Token,
        directive: &Directive,
        next: usize,
        end: usize,
    ) -> usize {
        if self.frames.len() >= self.settings.nesting {
            self.tell(token, IssueKind::Nesting(self.settings.nesting));
            return end;
        }
        match ssi::block(directive) {
            Ok(name) => self.push(Kind::Block(name), end, self.current.interpolated),
            Err(fault) => self.message(token, fault),
        }
        next
    }

    // The ends of elements.

    fn close(&mut self) {
        let Some(parent) = self.frames.pop() else {
            return;
        };
        let frame = std::mem::replace(&mut self.current, parent);
        // What a function or a block holds happens where it is called or used.
        let changes = frame.changes_state || frame.breaks;
        if !matches!(frame.kind, Kind::Function(_)) {
            self.current.changes_state |= frame.changes_state;
            self.current.breaks |= frame.breaks && !matches!(frame.kind, Kind::Foreach { .. });
        }
        if matches!(frame.kind, Kind::Vars) {
            self.extend(frame.nodes);
            return;
        }
        let body = self.body(frame.nodes);
        let node = match frame.kind {
            Kind::Root | Kind::Vars => return,
            Kind::Choose(choose) => Node::Choose(Box::new(choose)),
            Kind::When {
                offset,
                test,
                captures,
            } => {
                if let Kind::Choose(choose) = &mut self.current.kind {
                    choose.branches.push(When {
                        offset,
                        test,
                        captures,
                        body,
                    });
                }
                return;
            }
            Kind::Otherwise => {
                if let Kind::Choose(choose) = &mut self.current.kind {
                    choose.otherwise = Some(body);
                }
                return;
            }
            Kind::Attempt => {
                if let Kind::Try { attempt, .. } = &mut self.current.kind {
                    *attempt = Some(body);
                }
                return;
            }
            Kind::Except => {
                if let Kind::Try { except, .. } = &mut self.current.kind {
                    *except = Some(body);
                }
                return;
            }
            Kind::Try {
                offset,
                attempt,
                except,
            } => Node::Try(Box::new(Try {
                offset,
                attempt: attempt.unwrap_or_default(),
                except,
                waits: changes,
            })),
            Kind::Inline { offset, name } => Node::Inline(Box::new(Inline { offset, name, body })),
            Kind::Foreach {
                offset,
                collection,
                item,
            } => Node::Foreach(Box::new(Foreach {
                offset,
                collection,
                item,
                body,
            })),
            Kind::Function(name) => Node::Function(Box::new(Function { name, body })),
            Kind::Assign { offset, target } => Node::Assign(Box::new(Assign {
                offset,
                target,
                value: Assigned::Content(body),
            })),
            Kind::If { open, mut branches } => {
                let otherwise = match open {
                    Some((offset, condition)) => {
                        branches.push(Branch {
                            offset,
                            condition,
                            body,
                        });
                        None
                    }
                    None => Some(body),
                };
                Node::If(Box::new(If {
                    branches,
                    otherwise,
                }))
            }
            Kind::Block(name) => Node::Block(Box::new(Block { name, body })),
        };
        self.current.nodes.push(node);
    }

    fn extend(&mut self, nodes: Vec<Node>) {
        for node in nodes {
            match node {
                Node::Text(span) => self.push_text(span.start as usize, span.end as usize),
                other => self.current.nodes.push(other),
            }
        }
    }
}

/// The name of a directive that ends or divides.
fn ending(directive: &Directive) -> &'static str {
    match &directive.command[..] {
        b"elif" => "elif",
        b"else" => "else",
        b"endblock" => "endblock",
        _ => "endif",
    }
}

/// Whether a function of the document is called: it may assign.
fn is_own_call(reference: Reference<'_>) -> bool {
    matches!(reference, Reference::Own(_))
}
