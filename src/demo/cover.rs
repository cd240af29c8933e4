//! The cover of a book, drawn as SVG: a ground in the hue of its shelf, an inlay of simple shapes, title and author in type.
//!
//! What is drawn follows from the book's number alone, so a cover is the same on every machine and for ever cacheable.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use crate::demo::catalogue::Book;
use crate::demo::seed::Seed;

const WIDTH: u32 = 240;
const HEIGHT: u32 = 360;

/// The colours of one cover.
struct Palette {
    ground: String,
    deep: String,
    light: String,
    ink: String,
    dark_ground: bool,
}

/// The cover as an SVG document.
pub fn svg(book: &Book) -> String {
    let mut chance = Seed::of(0x00c0_7e45, u64::from(book.number));
    let palette = palette(book.shelf().hue, &mut chance);
    let inlay = inlay(&palette, &mut chance);
    let lines = lines(&book.title, 15);
    let size = if lines.len() > 3 || lines.iter().any(|line| line.chars().count() > 12) {
        23
    } else {
        28
    };
    html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) width=(WIDTH) height=(HEIGHT) role="img" {
            title { (book.title) " by " (book.author) }
            rect width=(WIDTH) height=(HEIGHT) fill=(palette.ground) {}
            (inlay)
            // The fold beside the spine.
            rect width="9" height=(HEIGHT) fill="#000" opacity=".13" {}
            rect x="9" width="1.5" height=(HEIGHT) fill="#fff" opacity=".16" {}
            g fill=(palette.ink) font-family="'Iowan Old Style','Palatino Linotype',Palatino,'Book Antiqua',Georgia,serif" {
                @for (row, line) in (0u32..).zip(&lines) {
                    text x="26" y=(58 + row * (size + 5)) font-size=(size) font-weight="600" { (line) }
                }
                text x="26" y=(HEIGHT - 44) font-size="15" font-style="italic" { (book.author) }
                text x="26" y=(HEIGHT - 22) font-size="9.5" letter-spacing="1.6" opacity=".8" { (book.publisher.to_uppercase()) }
            }
        }
    }
    .into_string()
}

fn palette(hue: u32, chance: &mut Seed) -> Palette {
    let hue = (hue + 345 + chance.below(31) as u32) % 360;
    let other = (hue + [28, 160, 200, 330][chance.below(4)]) % 360;
    let dark_ground = chance.below(3) > 0;
    if dark_ground {
        Palette {
            ground: format!("hsl({hue} 38% 25%)"),
            deep: format!("hsl({hue} 42% 17%)"),
            light: format!("hsl({other} 55% 64%)"),
            ink: format!("hsl({hue} 45% 94%)"),
            dark_ground,
        }
    } else {
        Palette {
            ground: format!("hsl({hue} 44% 88%)"),
            deep: format!("hsl({hue} 40% 76%)"),
            light: format!("hsl({other} 50% 46%)"),
            ink: format!("hsl({hue} 50% 16%)"),
            dark_ground,
        }
    }
}

/// The picture in the lower middle: one of six patterns.
fn inlay(palette: &Palette, chance: &mut Seed) -> Markup {
    let shapes = match chance.below(6) {
        0 => sun(chance),
        1 => diamonds(chance),
        2 => hills(chance),
        3 => stripes(chance),
        4 => leaves(chance),
        _ => rings(chance),
    };
    let opacity = if palette.dark_ground { ".95" } else { ".9" };
    html! {
        g fill=(palette.deep) { (PreEscaped(shapes.back)) }
        g fill=(palette.light) opacity=(opacity) { (PreEscaped(shapes.front)) }
    }
}

/// Two layers of shapes as SVG elements; made of numbers alone.
#[derive(Default)]
struct Shapes {
    back: String,
    front: String,
}

fn sun(chance: &mut Seed) -> Shapes {
    let (x, y, radius) = (
        chance.between(90, 160),
        chance.between(196, 214),
        chance.between(34, 50),
    );
    Shapes {
        back: format!(r#"<circle cx="{x}" cy="{y}" r="{}"/>"#, radius + 22),
        front: format!(
            r#"<circle cx="{x}" cy="{y}" r="{radius}"/><rect x="26" y="{}" width="188" height="2"/>"#,
            y + radius + 30
        ),
    }
}

fn diamonds(chance: &mut Seed) -> Shapes {
    let mut shapes = Shapes::default();
    for row in 0..4u32 {
        for column in 0..6u32 {
            let (x, y) = (42 + column * 31, 186 + row * 31);
            let layer = if chance.below(2) == 0 {
                &mut shapes.back
            } else {
                &mut shapes.front
            };
            // Writing to a String does not fail.
            let _ = write!(layer, r#"<path d="M{x} {}l15 15-15 15-15-15z"/>"#, y - 15);
        }
    }
    shapes
}

fn hills(chance: &mut Seed) -> Shapes {
    let (one, two, three) = (
        chance.between(170, 210),
        chance.between(215, 250),
        chance.between(196, 236),
    );
    Shapes {
        back: format!(r#"<path d="M0 {two}Q60 {one} 120 {two}T240 {two}V{HEIGHT}H0z"/>"#),
        front: format!(
            r#"<circle cx="{}" cy="{}" r="17"/><path d="M0 {}Q80 {three} 150 264T240 256V268Q190 262 150 276T0 288z"/>"#,
            chance.between(60, 190),
            chance.between(150, 175),
            three + 40
        ),
    }
}

fn stripes(chance: &mut Seed) -> Shapes {
    let mut shapes = Shapes::default();
    for row in 0..9u32 {
        let (x, width) = (chance.between(26, 90), chance.between(50, 124));
        let layer = if row % 3 == 0 {
            &mut shapes.front
        } else {
            &mut shapes.back
        };
        let _ = write!(
            layer,
            r#"<rect x="{x}" y="{}" width="{width}" height="7" rx="3.5"/>"#,
            174 + row * 14
        );
    }
    shapes
}

fn leaves(chance: &mut Seed) -> Shapes {
    let mut shapes = Shapes::default();
    let x = chance.between(96, 144);
    let _ = write!(
        shapes.back,
        r#"<rect x="{}" y="164" width="3" height="132"/>"#,
        x - 1
    );
    for row in 0..5u32 {
        let (y, reach) = (180 + row * 24, chance.between(28, 52));
        let _ = write!(
            shapes.front,
            r#"<path d="M{x} {y}q{reach} -22 {reach} -4q-14 14 -{reach} 4z"/>"#
        );
        let _ = write!(
            shapes.back,
            r#"<path d="M{x} {}q-{reach} -22 -{reach} -4q14 14 {reach} 4z"/>"#,
            y + 12
        );
    }
    shapes
}

fn rings(chance: &mut Seed) -> Shapes {
    let (x, y) = (chance.between(80, 170), chance.between(200, 218));
    let mut shapes = Shapes::default();
    for ring in 0..4u32 {
        let _ = write!(
            shapes.front,
            r#"<path fill-rule="evenodd" d="{}{}"/>"#,
            disc(x, y, 18 + ring * 17),
            disc(x, y, 12 + ring * 17)
        );
    }
    let _ = write!(shapes.back, r#"<path d="{}"/>"#, disc(x, y, 78));
    shapes
}

/// A full circle as a path.
fn disc(x: u32, y: u32, radius: u32) -> String {
    format!("M{x} {}a{radius} {radius} 0 1 0 1 0z", y - radius)
}

/// A title in lines of about so many characters, five at most.
fn lines(title: &str, wanted: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in title.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < wanted => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.truncate(5);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::catalogue::Catalogue;

    #[test]
    fn a_cover_is_the_same_each_time_and_well_formed() {
        for book in Catalogue::of(7).books().iter().take(300) {
            let drawn = svg(book);
            assert_eq!(drawn, svg(book));
            assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>"));
            let mut reader = quick_xml::Reader::from_str(&drawn);
            while reader.read_event().expect("the cover is XML") != quick_xml::events::Event::Eof {}
        }
    }

    #[test]
    fn long_titles_break_between_words() {
        assert_eq!(
            lines("The Secret Life of Lighthouses", 15),
            ["The Secret Life", "of Lighthouses"]
        );
        assert_eq!(lines("a b c d e f", 1).len(), 5);
    }
}
