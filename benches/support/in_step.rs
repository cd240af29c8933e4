//! An origin for counting: in a thread of its own, so that its instructions are not those of who asks it, and in step with that one. It moves only
//! while the other thread is about to wait, and has then answered all that was asked before the other goes on. So what comes at once is the
//! same in each run, and with it the count.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier};

use crate::support;

/// The origin, as the thread that asks it has it.
pub struct Origin {
    pub address: SocketAddr,
    steps: Arc<Barrier>,
}

impl Origin {
    /// Starts it. It ends with the process.
    pub fn begin() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be listened on");
        listener.set_nonblocking(true).expect("a TCP socket");
        let address = listener.local_addr().expect("it is bound");
        let steps = Arc::new(Barrier::new(2));
        let ours = Arc::clone(&steps);
        std::thread::spawn(move || {
            let mut connections = Vec::new();
            loop {
                ours.wait();
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).expect("a TCP socket");
                    stream.set_nodelay(true).expect("a TCP socket");
                    connections.push(stream);
                }
                connections.retain_mut(answer_what_came);
                ours.wait();
            }
        });
        Self { address, steps }
    }

    /// Lets it answer all that has been asked.
    pub fn step(&self) {
        self.steps.wait();
        self.steps.wait();
    }
}

/// Answers the request that has come, if there is one: a request has no body and comes whole. Whether the connection is kept.
fn answer_what_came(stream: &mut TcpStream) -> bool {
    let mut head = [0; 4096];
    match stream.read(&mut head) {
        Ok(0) => false,
        Ok(length) => {
            assert!(head[..length].ends_with(b"\r\n\r\n"), "it came whole");
            let path = head.split(|byte| *byte == b' ').nth(1);
            let path = String::from_utf8_lossy(path.unwrap_or_default());
            stream.write_all(&support::bytes_of(&path)).is_ok()
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
