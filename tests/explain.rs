//! `check --explain` tells what would become of a request, and with `--fetch` why its answer is or is not composed and stored.

mod support;

use std::process::{Command, Output};

use support::{Origin, Reply};

fn run(file: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_marquetry"))
        .args(["check", "--config"])
        .arg(file)
        .args(arguments)
        .output()
        .expect("the binary runs")
}

fn file(origin: &Origin, folder: &tempfile::TempDir) -> std::path::PathBuf {
    let text = format!(
        "[identity]\nsession_cookies = [\"sid\"]\n[upstreams.app]\nservers = [\"{}\"]\n\
         [[routes]]\npath = \"/\"\nupstream = \"app\"\nforward_cookies = [\"group\", \"lang\"]\nkey_cookies = [\"group\"]\nignore_query = [\"utm_*\"]\n\
         [[routes]]\npath = \"/off/\"\nupstream = \"app\"\ncompose = \"off\"\ncache = false\n",
        origin.address
    );
    let path = folder.path().join("marquetry.toml");
    std::fs::write(&path, text).expect("a file in our own folder");
    path
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_request_is_explained_without_sending_it() {
    let origin = Origin::start().await;
    let folder = tempfile::TempDir::new().expect("a folder of our own");
    let file = file(&origin, &folder);
    let url = "http://WWW.example.com/a?utm_x=1&y=2";
    let output = run(
        &file,
        &["--explain", url, "--cookie", "sid=s3cret; group=g1; x=1"],
    );
    let text = told(&output);
    for line in [
        "route     /\n",
        "upstream  app\n",
        "key       http://www.example.com/a?y=2 with the cookies of `key_cookies` that it carries\n",
        "cookies   group go upstream\n",
        "user      logged in: never answered stale\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("s3cret"));
    assert!(origin.requests().is_empty());
    assert_eq!(run(&file, &["--explain", "/a"]).status.code(), Some(2));
    assert_eq!(run(&file, &["--fetch"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_explained_by_the_fields_that_decide() {
    let origin = Origin::start().await;
    origin.on(
        "/page",
        Reply::html("x")
            .header("Surrogate-Control", "content=\"ESI/1.0\"")
            .header("Cache-Control", "public, max-age=60, stale-if-error=30"),
    );
    origin.on(
        "/me",
        Reply::html("x").header("Cache-Control", "private, max-age=60"),
    );
    let cookie = Reply::html("x").header("Cache-Control", "public, max-age=60");
    origin.on("/login", cookie.header("Set-Cookie", "sid=s3cret"));
    origin.on(
        "/off/x",
        Reply::text("x").header("Cache-Control", "max-age=60"),
    );
    let folder = tempfile::TempDir::new().expect("a folder of our own");
    let file = file(&origin, &folder);
    for (path, lines) in [
        (
            "/page",
            vec![
                "composed  yes: it says `surrogate-control: content=\"ESI/1.0\"`",
                // 60 s, or 59 when a second of the origin's `Date` has ended meanwhile.
                "stored    yes, for everybody, fresh for ",
                " s, then 30 s stale where the upstream fails: it says",
                "`cache-control: public, max-age=60, stale-if-error=30`",
                "warning   the page declares tags and lacks `Vary: Surrogate-Capability`",
            ],
        ),
        (
            "/me",
            vec![
                "composed  no: it does not declare tags",
                "stored    no: it says private (`cache-control: private, max-age=60`)",
            ],
        ),
        (
            "/login",
            vec!["stored    no: it has Set-Cookie (`Set-Cookie: …`)"],
        ),
        (
            "/off/x",
            vec![
                "composed  no: the route has `compose = \"off\"`",
                "stored    no: the route has `cache = false`",
            ],
        ),
        (
            "/none",
            vec![
                "answer    404, text/plain",
                "stored    no: it has no lifetime (nothing of it)",
            ],
        ),
    ] {
        let url = format!("http://www.example.com{path}");
        let explained = run(&file, &["--explain", &url, "--fetch"]);
        let text = told(&explained);
        for line in lines {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("s3cret"));
    }
}
