//! The demo as a visitor meets it: the shop opens with one command, its pages are composed, and two who are logged in at a time
//! never see each other's parts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// A shop that closes when the test ends.
struct Shop {
    process: Child,
    address: String,
}

impl Shop {
    /// Opens it on a free port, and waits until it says where.
    fn open() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_marquetry"))
            .args(["demo", "--port", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let address = lines.find_map(|line| {
            let line = line.expect("it speaks UTF-8");
            let (_, rest) = line.split_once("http://")?;
            Some(rest.trim_end_matches('/').to_owned())
        });
        let address = address.expect("it says where it is");
        // What else it says is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }

    /// Status line and fields, and the body.
    fn ask(&self, method: &str, target: &str, cookie: &str, body: &str) -> (String, String) {
        let mut socket = TcpStream::connect(&self.address).expect("it listens");
        let cookie = if cookie.is_empty() {
            String::new()
        } else {
            format!("Cookie: {cookie}\r\n")
        };
        let length = if body.is_empty() {
            String::new()
        } else {
            format!(
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
                body.len()
            )
        };
        // HTTP/1.0: the body has no chunks and ends with the connection.
        let head = format!(
            "{method} {target} HTTP/1.0\r\nHost: {}\r\n{cookie}{length}\r\n",
            self.address
        );
        socket
            .write_all(format!("{head}{body}").as_bytes())
            .expect("it reads");
        let mut answer = String::new();
        socket
            .read_to_string(&mut answer)
            .expect("it answers in UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.to_ascii_lowercase(), body.to_owned())
    }

    fn get(&self, target: &str, cookie: &str) -> String {
        let (head, body) = self.ask("GET", target, cookie, "");
        assert!(
            head.starts_with("http/1.0 200") || head.starts_with("http/1.1 200"),
            "{target}: {head}"
        );
        body
    }

    /// The session of somebody who has just logged in.
    fn log_in(&self, name: &str) -> String {
        let (head, _) = self.ask("POST", "/login", "", &format!("name={name}"));
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: "))
            .expect("a session begins");
        line.split(';').next().expect("a cookie").to_owned()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_front_is_composed_of_shared_and_personal_parts() {
    let shop = Shop::open();
    let front = shop.get("/", "");
    assert!(!front.contains("<esi:"), "no tag is left");
    for part in ["best sellers", "greeting", "basket", "picked for you"] {
        assert!(front.contains(&format!("data-part=\"{part}\"")), "{part}");
    }
    let ssi = shop.get("/ssi", "");
    assert!(
        !ssi.contains("<!--#") && ssi.contains("data-part="),
        "SSI is composed too"
    );
}

#[test]
fn two_who_are_logged_in_never_see_each_others_parts() {
    let shop = Shop::open();
    let sessions = [("ada", shop.log_in("ada")), ("grace", shop.log_in("grace"))];
    std::thread::scope(|scope| {
        for (me, other) in [(0, 1), (1, 0)] {
            let (shop, sessions) = (&shop, &sessions);
            scope.spawn(move || {
                for _ in 0..5 {
                    let page = shop.get("/", &sessions[me].1).to_lowercase();
                    let greets = |name: &str| page.contains(&format!("<strong>{name}</strong>"));
                    assert!(greets(sessions[me].0), "{} is greeted", sessions[me].0);
                    assert!(
                        !greets(sessions[other].0),
                        "{} sees {}",
                        sessions[me].0,
                        sessions[other].0
                    );
                }
            });
        }
    });
}

#[test]
fn a_post_changes_the_basket_of_its_user_alone() {
    let shop = Shop::open();
    let (ada, grace) = (shop.log_in("ada"), shop.log_in("grace"));
    let before = basket(&shop.get("/", &grace));
    let page = shop.get("/", &ada);
    let form = page
        .split("action=\"/basket/add\"")
        .nth(1)
        .expect("a book can be put into the basket");
    let value = form
        .split("value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a number");
    let name = form
        .split("name=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a name");
    let (head, _) = shop.ask("POST", "/basket/add", &ada, &format!("{name}={value}"));
    assert!(head.contains(" 303 "), "{head}");
    assert_ne!(
        basket(&shop.get("/", &ada)),
        before,
        "ada's basket has changed"
    );
    assert_eq!(basket(&shop.get("/", &grace)), before, "grace's has not");
}

#[test]
fn whoever_writes_reads_it_on_the_next_page_and_so_does_everybody_else() {
    let shop = Shop::open();
    let (ada, grace) = (shop.log_in("ada"), shop.log_in("grace"));
    let front = shop.get("/", &ada);
    let book = front.split("href=\"/books/").nth(1).expect("a book");
    let book = book.split('"').next().expect("its address");
    let number = book.split('-').next().expect("its number");
    let page = format!("/books/{book}");
    // Both shared parts are in store now, the reviews for half a minute.
    for reader in ["", &ada, &grace] {
        let before = shop.get(&page, reader);
        assert!(!before.contains("A lantern of a book"), "{before}");
        assert!(!before.contains("In baskets right now"), "{before}");
    }
    let review = format!("book={number}&stars=5&text=A+lantern+of+a+book");
    let (head, _) = shop.ask("POST", "/reviews", &ada, &review);
    assert!(head.contains(" 303 "), "{head}");
    for reader in [&ada, &grace, ""] {
        let after = shop.get(&page, reader);
        assert!(after.contains("A lantern of a book"), "{after}");
    }
    let (head, _) = shop.ask("POST", "/basket/add", &ada, &format!("book={number}"));
    assert!(head.contains(" 303 "), "{head}");
    let mine = shop.get(&page, &ada);
    assert!(mine.contains("In baskets right now: 1."), "{mine}");
    assert!(basket(&mine).contains("1 book") || mine.contains("<strong>1 book</strong>"));
    assert!(shop.get(&page, &grace).contains("In baskets right now: 1."));
    assert!(shop.get(&page, &grace).contains("Basket: empty"));
    // Ends the session, and with it the basket.
    shop.ask("POST", "/logout", &ada, "back=/");
    assert!(!shop.get(&page, &grace).contains("In baskets right now"));
}

/// What the basket says of itself.
fn basket(page: &str) -> String {
    let part = page
        .split("data-part=\"basket\"")
        .nth(1)
        .expect("there is a basket");
    let text = part.split("Basket").nth(1).expect("it is named");
    text.chars().take_while(|c| *c != '<').collect()
}
