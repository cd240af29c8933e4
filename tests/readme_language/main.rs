//! The chapter of the README on the language: every example in it is composed, in process, and gives exactly what it says; and
//! nothing that the compiler and the evaluator know by name is left out of it.

mod known;
mod notation;
mod stage;

use std::collections::BTreeSet;

use notation::Example;

/// Fewer would mean that examples are no longer found.
const FEWEST_EXAMPLES: usize = 200;

#[tokio::test(start_paused = true)]
async fn every_example_gives_what_it_says() {
    let examples = notation::examples();
    let mut failures = Vec::new();
    for example in &examples {
        let found = stage::differences(example).await;
        failures.extend(
            found
                .into_iter()
                .map(|found| format!("README.md:{}: {found}\n  {}", example.line, example.page)),
        );
    }
    println!("{} examples", examples.len());
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        examples.len(),
        failures.join("\n")
    );
    assert!(examples.len() >= FEWEST_EXAMPLES, "{}", examples.len());
}

/// What the examples are written in, without what they give: a name that only an output shows is not shown at work.
fn shown(examples: &[Example]) -> String {
    let mut text = String::new();
    for example in examples {
        text.push_str(&example.page);
        text.push('\n');
        for fragment in &example.fragments {
            text.push_str(&fragment.body);
            text.push('\n');
        }
    }
    text
}

#[test]
fn every_name_of_the_language_has_an_example() {
    let text = shown(&notation::examples());
    let missing: BTreeSet<String> = known::names()
        .into_iter()
        .filter(|name| !name.is_shown_in(&text))
        .map(|name| name.to_string())
        .collect();
    assert!(missing.is_empty(), "no example shows {missing:?}");
}

#[test]
fn every_limit_is_told() {
    let chapter = notation::chapter();
    for limit in known::limits() {
        assert!(chapter.contains(&format!("`{limit}`")), "{limit}");
    }
}

#[test]
fn the_table_of_contents_leads_to_headings() {
    let chapter = notation::chapter();
    let heading = |line: &str| -> Option<String> {
        let title = line.strip_prefix("### ")?;
        Some(
            title
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect(),
        )
    };
    let headings: BTreeSet<_> = chapter.lines().filter_map(heading).collect();
    let linked: BTreeSet<_> = chapter
        .lines()
        .filter(|line| line.starts_with("- ["))
        .filter_map(|line| line.split("](#").nth(1)?.split(')').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(linked, headings);
}
