//! A client that sends any bytes and reads answers exactly.

use std::fmt::Write as _;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::wire::{Body, Framing, Head, Io, Wire};
use super::{contains, within};

pub use super::wire::End;

/// A connection to a gateway.
pub struct Client {
    wire: Wire,
}

/// A request to be written.
#[derive(Debug, Clone)]
pub struct Ask {
    method: String,
    target: String,
    host: String,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Head.
    pub head: Head,
    /// Body, unchunked.
    pub body: Vec<u8>,
    /// Whether the body ended as announced.
    pub end: End,
}

/// An answer whose head is there and whose body still comes.
pub struct Incoming<'a> {
    client: &'a mut Client,
    /// Head.
    pub head: Head,
    /// Status.
    pub status: u16,
    body: Body,
}

/// A request with this method for this target, to `www.example.com`.
pub fn ask(method: &str, target: &str) -> Ask {
    Ask {
        method: method.to_owned(),
        target: target.to_owned(),
        host: "www.example.com".to_owned(),
        fields: Vec::new(),
        body: None,
    }
}

impl Ask {
    /// To this host.
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// With one more field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body, framed by its length.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// The request as it is written.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n",
            self.method, self.target, self.host
        );
        for (name, value) in &self.fields {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            let _ = write!(text, "Content-Length: {}\r\n", body.len());
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address))
            .await
            .expect("the gateway accepts");
        let _ = stream.set_nodelay(true);
        Self::over(stream)
    }

    /// Speaks over a stream that is there.
    pub fn over(stream: impl Io + 'static) -> Self {
        Self {
            wire: Wire::new(stream),
        }
    }

    /// Writes these bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes)
            .await
            .expect("the gateway reads what is sent");
    }

    /// Writes these bytes; the other side may have closed.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        within("a write", self.wire.write(bytes.as_ref())).await
    }

    /// Sends the request and reads its whole answer.
    pub async fn fetch(&mut self, ask: &Ask) -> Answer {
        self.send(ask.bytes()).await;
        self.answer_to(&ask.method).await
    }

    /// Reads a whole answer to a request other than HEAD.
    pub async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    /// Sends the request and reads the head of its answer.
    pub async fn begin(&mut self, ask: &Ask) -> Incoming<'_> {
        self.send(ask.bytes()).await;
        self.incoming(&ask.method).await
    }

    /// Reads the head of an answer to a request with this method.
    pub async fn incoming(&mut self, method: &str) -> Incoming<'_> {
        self.try_incoming(method)
            .await
            .expect("an answer before the connection ends")
    }

    /// Reads the head of an answer; `None` when the connection ended before it.
    pub async fn try_incoming(&mut self, method: &str) -> Option<Incoming<'_>> {
        let head = within("the head of an answer", self.wire.head()).await?;
        let status = head.start.get(9..12)?.parse().ok()?;
        let bodiless = method == "HEAD" || status == 204 || status == 304 || status < 200;
        let framing = if bodiless {
            Framing::Length(0)
        } else {
            head.framing(Framing::Close)
        };
        Some(Incoming {
            client: self,
            head,
            status,
            body: Body::new(framing),
        })
    }

    /// Waits until the other side closes; what came before that.
    pub async fn closed(&mut self) -> Vec<u8> {
        within("the connection to close", self.wire.until_closed()).await
    }

    /// Says that nothing more will be sent.
    pub async fn shut(&mut self) {
        self.wire.shut().await;
    }

    async fn answer_to(&mut self, method: &str) -> Answer {
        self.incoming(method).await.finish().await
    }
}

impl Incoming<'_> {
    /// Reads on until the body so far contains `needle`; the body so far.
    ///
    /// # Panics
    /// When the body ends without it.
    pub async fn until(&mut self, needle: &str) -> &[u8] {
        let what = format!("{needle:?} in the body");
        let (body, client) = (&mut self.body, &mut self.client);
        within(&what, async {
            while !contains(&body.bytes, needle.as_bytes()) {
                assert!(
                    body.end.is_none(),
                    "no {needle:?} in {:?}",
                    String::from_utf8_lossy(&body.bytes)
                );
                body.step(&mut client.wire).await;
            }
        })
        .await;
        &self.body.bytes
    }

    /// Reads a little more; the body so far.
    ///
    /// # Panics
    /// When it has ended.
    pub async fn more(&mut self) -> &[u8] {
        assert!(self.body.end.is_none(), "the body has ended");
        self.body.step(&mut self.client.wire).await;
        &self.body.bytes
    }

    /// Reads to the end.
    pub async fn finish(mut self) -> Answer {
        let read = self.body.finish(&mut self.client.wire);
        let end = within("the end of the body", read).await;
        Answer {
            status: self.status,
            head: self.head,
            body: self.body.bytes,
            end,
        }
    }
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of the first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.first(name)
    }

    /// Whether a comma-separated list of this name holds the word.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.head
            .all(name)
            .iter()
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(word))
    }

    /// Holds that it is a whole answer with this status and this body.
    ///
    /// # Panics
    /// When it is not.
    pub fn is(&self, status: u16, body: &str) {
        let (text, end) = (self.text(), self.end);
        assert_eq!(
            (self.status, text.as_str(), end),
            (status, body, End::Complete),
            "{}",
            String::from_utf8_lossy(&self.head.raw)
        );
    }
}
