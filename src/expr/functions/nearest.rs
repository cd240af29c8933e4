//! Which built-in function a misspelled name may mean; for diagnostics.

/// The built-in name that is spelled most like this one: at most two letters apart, and less than half of them.
pub fn nearest(name: &[u8]) -> Option<&'static str> {
    const FARTHEST: usize = 2;
    let distances = super::TABLE.iter().map(|function| {
        let distance = edit_distance(name, function.name.as_bytes());
        (distance, function.name)
    });
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= FARTHEST && distance * 2 < nearest.len()).then_some(nearest)
}

/// How many bytes must be put in, taken out or replaced to make one text the other. Cheap, because one of them is the name
/// of a built-in function.
fn edit_distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, left_byte) in left.iter().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (cell, right_byte) in row.iter_mut().skip(1).zip(right) {
            let replaced = diagonal + usize::from(left_byte != right_byte);
            diagonal = *cell;
            before = replaced.min(*cell + 1).min(before + 1);
            *cell = before;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_single_changes() {
        for (left, right, distance) in [
            ("", "abc", 3),
            ("abc", "", 3),
            ("lower", "lower", 0),
            ("lowr", "lower", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(
                edit_distance(left.as_bytes(), right.as_bytes()),
                distance,
                "{left} {right}"
            );
        }
    }

    #[test]
    fn the_nearest_name_is_near() {
        for (name, expected) in [
            ("lowr", Some("lower")),
            ("urlencode", Some("url_encode")),
            ("substring", None),
            ("md5", None),
            ("frobnicate", None),
            ("x", None),
        ] {
            assert_eq!(nearest(name.as_bytes()), expected, "{name}");
        }
    }
}
