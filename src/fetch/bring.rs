//! To the upstream and back: ask, judge, store what may be stored, and tell those who wait before anybody uses the answer.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, SET_COOKIE};
use http::{Method, StatusCode};
use http_body::Body as _;

use crate::cache::arriving::Share;
use crate::cache::coalesce::{Landed, Lead};
use crate::cache::epochs::{Epoch, Labels};
use crate::cache::filling::{self, Filler};
use crate::cache::key::{Asker, CacheKey};
use crate::cache::object::{Object, Parts};
use crate::cache::storable::{self, Answered, Asked, Grant, Reason, Verdict};
use crate::cache::terms::Terms;
use crate::fetch::error::FetchError;
use crate::fetch::gather::{Gathered, gather_within};
use crate::fetch::{
    Ask, Fetched, Fetcher, Prepare, Streamed, arriving, invalidate, is_failure, validate,
};
use crate::message::{Body, Response, headers};
use crate::observe::outcome::{CacheUse, Why};

/// An answer of the upstream, with what was asked.
struct Brought {
    response: Response,
    at: SystemTime,
    delay: Duration,
    begun: Epoch,
}

/// What the filler's task needs of the request.
struct Store {
    key: CacheKey,
    prepare: Arc<dyn Prepare>,
    fields: Arc<HeaderMap>,
    keyed: bool,
    begun: Epoch,
}

impl Brought {
    fn judge(
        &self,
        ask: &Ask,
        method: &Method,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Verdict {
        let asked = Asked {
            method,
            asker: ask.asker(),
            ttl: ask.ttl,
            defaults: ask.policy.defaults,
        };
        let answered = Answered {
            status,
            headers,
            at: self.at,
            delay: self.delay,
        };
        storable::judge(asked, answered)
    }
}

impl Fetcher {
    /// Asks the upstream, about `stored` where that has validators; `lead` tells those who wait.
    #[expect(
        clippy::manual_async_fn,
        reason = "a function keeps its arguments twice"
    )]
    pub(super) fn bring(
        &self,
        mut ask: Ask,
        used: CacheUse,
        lead: Option<Lead>,
        stored: Option<Arc<Object>>,
    ) -> impl Future<Output = Result<Fetched, FetchError>> + Send {
        async move {
            ask.notes.cache(used);
            self.observer.cache().used(used);
            let begun = self.cache.begin();
            let plain = validate::is_plain(&ask.request);
            let about = stored
                .as_ref()
                .filter(|object| plain && object.has_validator())
                // Confirmed, what was purged since it was found would be back.
                .filter(|object| !self.cache.is_gone(&ask.key, object));
            let mut brought = exchange(&mut ask, about.map(AsRef::as_ref), begun).await?;
            if brought.response.status() == StatusCode::NOT_MODIFIED {
                if let Some(object) = about {
                    if validate::confirms(&object.headers, brought.response.headers()) {
                        return Ok(self.confirmed(&ask, used, object, &brought, lead));
                    }
                    // It speaks of something else: nothing is renewed by it, and the whole is wanted.
                    brought = Box::pin(exchange(&mut ask, None, begun)).await?;
                }
                if plain
                    && brought.response.status() == StatusCode::NOT_MODIFIED
                    && !validate::has_conditions(&ask.request.fields)
                {
                    return Err(FetchError::NotModified);
                }
            }
            let (status, method) = (brought.response.status(), ask.request.method.clone());
            if !method.is_safe() {
                invalidate::after(&self.cache, &ask.key, status, brought.response.headers());
            }
            if method == Method::HEAD
                && status == StatusCode::OK
                && let Some(object) = &stored
            {
                self.compare(&ask, object, &brought);
            }
            let verdict = brought.judge(&ask, &method, status, brought.response.headers());
            // What covers errors is not replaced by one.
            let covered =
                is_failure(status) && stored.as_ref().is_some_and(|object| object.covers_errors());
            match verdict {
                Verdict::Share(grant) if ask.policy.cacheable && !covered => {
                    Box::pin(self.keep(ask, brought, grant, used, lead)).await
                }
                Verdict::Share(_) => {
                    Ok(self.hand_on(&ask, brought, None, used, lead, stored.is_some()))
                }
                Verdict::Personal(reason) => {
                    Ok(self.hand_on(&ask, brought, Some(reason), used, lead, stored.is_some()))
                }
            }
        }
    }

    /// The upstream says that what is stored is still good: its fields are renewed and its clock starts again.
    fn confirmed(
        &self,
        ask: &Ask,
        used: CacheUse,
        stored: &Arc<Object>,
        brought: &Brought,
        lead: Option<Lead>,
    ) -> Fetched {
        let used = match used {
            CacheUse::Miss(why) => CacheUse::Revalidated(why),
            _ => CacheUse::Revalidated(Why::Stale),
        };
        ask.notes.cache(used);
        let answer = brought.response.headers();
        let (renewed, landed, reason) = self.renew(ask, stored, brought);
        tell(lead, landed);
        if reason.is_none() && !answer.contains_key(SET_COOKIE) {
            return Fetched::Stored(renewed, used);
        }
        // What the upstream said to this asker alone goes to it and into no store.
        let mut own = arriving(&renewed, Body::full(renewed.body.clone()), used);
        for cookie in answer.get_all(SET_COOKIE) {
            own.response
                .headers_mut()
                .append(SET_COOKIE, cookie.clone());
        }
        own.personal = Some(reason.unwrap_or(Reason::SetCookie));
        own.stored = None;
        Fetched::Streamed(own)
    }

    /// Stores what is stored anew, with the fields of the answer; of one that begins a session, or that went to a user and does not
    /// say that everybody may have it, only those that speak of the copy. Where it may not be shared any more it is forgotten. What
    /// there is now, what those who wait are told, and why it is not shared.
    fn renew(
        &self,
        ask: &Ask,
        stored: &Arc<Object>,
        brought: &Brought,
    ) -> (Arc<Object>, Landed, Option<Reason>) {
        let (asker, answer) = (ask.asker(), brought.response.headers());
        let is_own = answer.contains_key(SET_COOKIE)
            || (asker.has_credentials() && !Terms::read(answer, brought.at).shared);
        let headers = if is_own {
            validate::merged(&stored.headers, &validate::of_copy(answer))
        } else {
            validate::merged(&stored.headers, answer)
        };
        let verdict = brought.judge(ask, &Method::GET, stored.status, &headers);
        let mut parts = Parts {
            status: stored.status,
            labels: Labels::default(),
            headers,
            body: stored.body.clone(),
            attachment: stored.attachment.clone(),
        };
        match verdict {
            Verdict::Share(grant) => {
                parts.labels = self.cache.labels(&ask.key, &parts.headers, brought.begun);
                let object = Arc::new(Object::new(parts, grant, asker.fields.all()));
                let landed = self.store(&ask.key, &object);
                (object, landed, None)
            }
            Verdict::Personal(reason) => {
                parts.headers = validate::merged(&stored.headers, answer);
                self.cache.mark(&ask.key, asker, &parts.headers);
                let unshared = Object::new(parts, Grant::none(), asker.fields.all());
                (Arc::new(unshared), Landed::Personal, Some(reason))
            }
        }
    }

    /// The answer to a HEAD renews the stored answer to GET when it speaks of the same; else that is good no more (RFC 9110
    /// 9.3.2, RFC 9111 4.3.5).
    fn compare(&self, ask: &Ask, stored: &Arc<Object>, brought: &Brought) {
        if validate::agrees(stored, brought.response.headers()) {
            // Whether it could be is seen in the store.
            let _ = self.renew(ask, stored, brought);
        } else {
            self.cache.purge(crate::cache::Purge::Url(&ask.key), false);
        }
    }

    /// Stores a shareable answer: whole where it is wanted whole, else while it is handed on.
    async fn keep(
        &self,
        ask: Ask,
        brought: Brought,
        grant: Grant,
        used: CacheUse,
        lead: Option<Lead>,
    ) -> Result<Fetched, FetchError> {
        let most = self.cache.max_object();
        let status = brought.response.status();
        // One without a body is whole already, and whoever writes it out never asks for more of it.
        let whole = ask.policy.whole
            || brought.response.body().is_end_stream()
            || ask.prepare.wants_whole(status, brought.response.headers());
        if brought.response.body().size_hint().lower() > most as u64 {
            return Ok(self.hand_on(&ask, brought, None, used, lead, false));
        }
        let mut room = self.cache.room();
        if !room.reach(brought.response.body().size_hint().lower() as usize) {
            self.observer.limit_hit("cache.arriving");
            // It could be stored another time: nothing is remembered against its key.
            tell(lead, Landed::Personal);
            return Ok(self.hand_on(&ask, brought, None, used, None, false));
        }
        if !whole {
            return Ok(Fetched::Streamed(
                self.fill(ask, brought, grant, used, lead, room),
            ));
        }
        let Brought {
            response,
            begun,
            at,
            ..
        } = brought;
        let (head, body) = response.into_parts();
        let gathered = ask
            .deadline
            .bound(gather_within(body, most, |length| room.reach(length)))
            .await
            .map_err(|_| FetchError::Deadline)??;
        let body = match gathered {
            // Of its own: what came is a part of what its connection has read, or has room for more.
            Gathered::Whole(body) => Bytes::copy_from_slice(&body),
            Gathered::Larger(read, body) => {
                self.not_kept(&ask.key, ask.asker(), &head.headers, read);
                tell(lead, Landed::Personal);
                return Ok(Fetched::Streamed(Streamed {
                    response: Response::from_parts(head, body),
                    cache: used,
                    personal: None,
                    came: at,
                    stored: None,
                }));
            }
        };
        let withheld = !grant.withheld.is_empty();
        let own = withheld.then(|| head.headers.clone());
        let parts = Parts {
            status: head.status,
            labels: self.cache.labels(&ask.key, &head.headers, begun),
            attachment: ask.prepare.prepare(head.status, &head.headers, &body),
            headers: head.headers,
            body,
        };
        let object = Arc::new(Object::new(parts, grant, &ask.request.fields));
        tell(lead, self.store(&ask.key, &object));
        match own {
            None => Ok(Fetched::Stored(object, used)),
            // Its asker gets all fields, also those that are not stored.
            Some(headers) => {
                let mut own = arriving(&object, Body::full(object.body.clone()), used);
                *own.response.headers_mut() = headers;
                own.response.headers_mut().remove(CONTENT_LENGTH);
                own.personal = Some(Reason::Private);
                Ok(Fetched::Streamed(own))
            }
        }
    }

    /// Stores an object, and says what those who wait are told: when it was purged on its way, those who came after the purge
    /// are among them.
    fn store(&self, key: &CacheKey, object: &Arc<Object>) -> Landed {
        if self.cache.store(key, object) {
            self.observer.cache().stored();
            Landed::Shared(Arc::clone(object))
        } else {
            Landed::Personal
        }
    }

    /// Stores an answer as a task while its asker, and those who come meanwhile, read along.
    fn fill(
        &self,
        ask: Ask,
        brought: Brought,
        grant: Grant,
        used: CacheUse,
        lead: Option<Lead>,
        room: Share,
    ) -> Streamed {
        let begun = brought.begun;
        let (head, body) = brought.response.into_parts();
        let length = body.size_hint().exact();
        let own = head.headers.clone();
        let withheld = !grant.withheld.is_empty();
        let labels = self.cache.labels(&ask.key, &head.headers, begun);
        let parts = Parts {
            status: head.status,
            headers: head.headers,
            body: bytes::Bytes::new(),
            attachment: None,
            labels,
        };
        let object = Arc::new(Object::new(parts, grant, &ask.request.fields));
        let (filling, filler) = filling::begin(Arc::clone(&object), length, room);
        if let Some(lead) = &lead {
            lead.arrives(&filling);
        }
        // Nothing has gone yet, so the body is there from its first byte.
        let own_body = filling.body().unwrap_or_else(Body::empty);
        let fetcher = self.clone();
        let fields = ask.request.fields;
        let store = Store {
            key: ask.key,
            prepare: ask.prepare,
            fields,
            keyed: ask.policy.keyed,
            begun,
        };
        let task = tokio::spawn(async move {
            fetcher.pour(&store, body, filler, lead).await;
        });
        filling.ends(task.abort_handle());
        let mut streamed = arriving(&object, own_body, used);
        if withheld {
            *streamed.response.headers_mut() = own;
            streamed.personal = Some(Reason::Private);
        }
        streamed
    }

    /// The filler's task: reads the origin to its end and stores the whole.
    async fn pour(&self, store: &Store, mut body: Body, filler: Filler, mut lead: Option<Lead>) {
        let (mut length, mut larger) = (0, false);
        let mut last = Bytes::new();
        while let Some(piece) = body.next().await {
            let bytes = match piece {
                Ok(bytes) => bytes,
                Err(error) => return filler.cut(error),
            };
            length += bytes.len();
            let fits = length <= self.cache.max_object() && filler.reaches(length);
            if !fits && !larger {
                larger = true;
                let asker = Asker {
                    fields: &*store.fields,
                    keyed: store.keyed,
                };
                self.not_kept(&store.key, asker, &filler.head().headers, length);
                tell(lead.take(), Landed::Personal);
                filler.is_larger();
            }
            // A reader that knows the length leaves with the last byte, and with the last reader this task ends: so what is whole is
            // stored before its last piece is handed on.
            if body.is_end_stream() && !larger {
                last = bytes;
                break;
            }
            filler.push(bytes).await;
        }
        if larger {
            return filler.finish(None);
        }
        let head = filler.head();
        let bytes = filler.bytes_and(&last);
        let attachment = store.prepare.prepare(head.status, &head.headers, &bytes);
        let labels = self.cache.labels(&store.key, &head.headers, store.begun);
        let object = Arc::new(head.with_body(bytes, attachment, labels));
        let landed = self.store(&store.key, &object);
        let stored = matches!(landed, Landed::Shared(_)).then_some(object);
        tell(lead, landed);
        if !last.is_empty() {
            filler.push(last).await;
        }
        filler.finish(stored);
    }

    /// An answer is not kept after so many bytes of it: remembered where it is larger than what is stored, and not where there was
    /// only no room for it now.
    fn not_kept(&self, key: &CacheKey, asker: Asker<'_>, response: &HeaderMap, length: usize) {
        if length > self.cache.max_object() {
            self.cache.mark(key, asker, response);
        } else {
            self.observer.limit_hit("cache.arriving");
        }
    }

    /// An answer for its asker alone, or one that is not stored.
    fn hand_on(
        &self,
        ask: &Ask,
        brought: Brought,
        personal: Option<Reason>,
        used: CacheUse,
        lead: Option<Lead>,
        replaces: bool,
    ) -> Fetched {
        let asker = ask.asker();
        let response = brought.response.headers();
        // What is stored stays where the answer says nothing of what others are given.
        let stays = replaces && personal.is_some_and(Reason::is_of_request);
        let is_get = replaces && ask.request.method == Method::GET;
        if brought.response.status().is_server_error() {
            tell(lead, Landed::Failed);
        } else {
            if !stays && (lead.is_some() || is_get) {
                self.cache.mark(&ask.key, asker, response);
            }
            tell(lead, Landed::Personal);
        }
        Fetched::Streamed(Streamed {
            response: brought.response,
            cache: used,
            personal,
            came: brought.at,
            stored: None,
        })
    }
}

fn tell(lead: Option<Lead>, landed: Landed) {
    if let Some(lead) = lead {
        lead.land(landed);
    }
}

/// Sends the request, with the validators of what is stored where there is something to be asked about. The ask keeps its own method, target
/// and fields, by which the answer is judged; a body goes with the first sending, and only a request without one is sent again.
async fn exchange(
    ask: &mut Ask,
    about: Option<&Object>,
    begun: Epoch,
) -> Result<Brought, FetchError> {
    let request = match about {
        Some(stored) => validate::conditional(&ask.request, stored),
        None => ask.request.take(),
    };
    let answer = ask.upstream.send(request, ask.deadline, &ask.notes).await?;
    let at = SystemTime::now();
    Ok(Brought {
        response: received(answer.response),
        at,
        delay: answer.delay,
        begun,
    })
}

/// The response without what was meant for one connection.
fn received(mut response: Response) -> Response {
    headers::remove_connection_fields(response.headers_mut());
    response
}
