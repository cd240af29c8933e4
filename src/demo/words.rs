//! The word lists of which titles, names, blurbs and reviews are made. Nobody in them is real.
//!
//! Templates name a list in braces (`{place}`); [`filled`] puts a word there.

use crate::demo::seed::Seed;

pub const FIRST_NAMES: &[&str] = &[
    "Agnes",
    "Alba",
    "Anselm",
    "Beatrix",
    "Bertil",
    "Bruno",
    "Carmen",
    "Cecily",
    "Chidi",
    "Clara",
    "Conrad",
    "Dagny",
    "Daniel",
    "Delphine",
    "Edith",
    "Elias",
    "Emeka",
    "Esther",
    "Farah",
    "Felix",
    "Flora",
    "Gideon",
    "Greta",
    "Hana",
    "Henrik",
    "Ida",
    "Imogen",
    "Ines",
    "Ivo",
    "Jonas",
    "Josephine",
    "Kaito",
    "Katarina",
    "Lena",
    "Leopold",
    "Lucia",
    "Magnus",
    "Margit",
    "Mina",
    "Nadia",
    "Noor",
    "Oskar",
    "Ottilie",
    "Paloma",
    "Pavel",
    "Petra",
    "Quentin",
    "Rafael",
    "Rosa",
    "Ruth",
    "Samir",
    "Sigrid",
    "Silas",
    "Tamsin",
    "Teodor",
    "Thea",
    "Ursula",
    "Viktor",
    "Wanda",
    "Yusuf",
];

pub const LAST_NAMES: &[&str] = &[
    "Abernethy",
    "Adeyemi",
    "Almeida",
    "Ashdown",
    "Bergqvist",
    "Birchall",
    "Brandt",
    "Caldicott",
    "Castellan",
    "Chaudhry",
    "Corbin",
    "Dahl",
    "Delacroix",
    "Dunmore",
    "Eklund",
    "Fairweather",
    "Ferreira",
    "Fjord",
    "Garland",
    "Greenhalgh",
    "Hallow",
    "Harcourt",
    "Hartnell",
    "Ibarra",
    "Ivarsson",
    "Jessop",
    "Kaminski",
    "Keller",
    "Kestrel",
    "Lachance",
    "Larkin",
    "Lindqvist",
    "Marchetti",
    "Marlow",
    "Mbali",
    "Merriweather",
    "Moreau",
    "Nakamura",
    "Novak",
    "Oakes",
    "Okonkwo",
    "Ostrander",
    "Palmgren",
    "Pemberton",
    "Quill",
    "Ravensworth",
    "Rosenthal",
    "Rowe",
    "Saltmarsh",
    "Sandoval",
    "Silvestri",
    "Sorensen",
    "Tanaka",
    "Thackeray-Lowe",
    "Underhill",
    "Valdez",
    "Vance",
    "Whitlock",
    "Winterbourne",
    "Zielinski",
];

const ADJECTIVES: &[&str] = &[
    "Amber",
    "Borrowed",
    "Broken",
    "Copper",
    "Crooked",
    "Distant",
    "Drowned",
    "Early",
    "Empty",
    "Faithful",
    "Folded",
    "Forgotten",
    "Gilded",
    "Hidden",
    "Hollow",
    "Inlaid",
    "Late",
    "Little",
    "Long",
    "Lost",
    "Low",
    "Narrow",
    "Northern",
    "Open",
    "Other",
    "Paper",
    "Patient",
    "Quiet",
    "Salt",
    "Second",
    "Silent",
    "Silver",
    "Slow",
    "Small",
    "Stolen",
    "Tall",
    "Unfinished",
    "Velvet",
    "Wandering",
    "Winter",
];

const NOUNS: &[&str] = &[
    "Almanac",
    "Archive",
    "Atlas",
    "Bell",
    "Bridge",
    "Cabinet",
    "Canal",
    "Cartographer",
    "Clock",
    "Compass",
    "Corridor",
    "Door",
    "Ferry",
    "Garden",
    "Glass",
    "Harbour",
    "Heron",
    "Hour",
    "Inheritance",
    "Island",
    "Key",
    "Lamp",
    "Lantern",
    "Ledger",
    "Letter",
    "Library",
    "Lighthouse",
    "Map",
    "Meadow",
    "Mirror",
    "Orchard",
    "Parcel",
    "Path",
    "River",
    "Room",
    "Season",
    "Shore",
    "Signal",
    "Staircase",
    "Station",
    "Summer",
    "Table",
    "Tide",
    "Tower",
    "Train",
    "Valley",
    "Visitor",
    "Window",
    "Workshop",
    "Year",
];

const PLURALS: &[&str] = &[
    "Apples",
    "Birds",
    "Bridges",
    "Candles",
    "Clocks",
    "Doors",
    "Evenings",
    "Feathers",
    "Foxes",
    "Gardens",
    "Ghosts",
    "Herons",
    "Hours",
    "Islands",
    "Keys",
    "Lamps",
    "Letters",
    "Maps",
    "Moths",
    "Neighbours",
    "Oranges",
    "Owls",
    "Pianos",
    "Postcards",
    "Rivers",
    "Rooms",
    "Ships",
    "Sparrows",
    "Stones",
    "Storms",
    "Strangers",
    "Swallows",
    "Tides",
    "Umbrellas",
    "Wolves",
];

const ROLES: &[&str] = &[
    "Apprentice",
    "Archivist",
    "Astronomer",
    "Baker",
    "Beekeeper",
    "Bookbinder",
    "Botanist",
    "Cabinetmaker",
    "Clockmaker",
    "Cook",
    "Ferryman",
    "Gardener",
    "Glassblower",
    "Lamplighter",
    "Librarian",
    "Lodger",
    "Mapmaker",
    "Midwife",
    "Organist",
    "Piano Tuner",
    "Pilot",
    "Postmistress",
    "Printer",
    "Signalman",
    "Stranger",
    "Surveyor",
    "Tailor",
    "Translator",
    "Upholsterer",
    "Watchman",
];

const PLACES: &[&str] = &[
    "Aldermouth",
    "Arlen Bay",
    "Belmere",
    "Brackenfold",
    "Cold Ashby",
    "Corvane",
    "Dunwick",
    "Eastmere",
    "Ferrow",
    "Garrick Sound",
    "Halden",
    "Inverlach",
    "Jarrowby",
    "Kestrel Hill",
    "Lowmoor",
    "Marrow Street",
    "Nether Wallop Cross",
    "Ostrava Gate",
    "Pellan",
    "Quarry End",
    "Ravenglass",
    "Saltholm",
    "Skerry",
    "Tarn Hows",
    "Thornaby",
    "Umber Lane",
    "Vesterhav",
    "Wexcombe",
    "Yarrow",
    "Zeeland Quay",
];

const TOPICS: &[&str] = &[
    "Bread",
    "Bridges",
    "Canals",
    "Chess",
    "Clouds",
    "Dust",
    "Ferries",
    "Forests",
    "Fog",
    "Gardens",
    "Glass",
    "Handwriting",
    "Hedgerows",
    "Ink",
    "Islands",
    "Lighthouses",
    "Locks",
    "Maps",
    "Markets",
    "Moss",
    "Night Trains",
    "Paper",
    "Post Offices",
    "Queues",
    "Rain",
    "Rivers",
    "Salt",
    "Shadows",
    "Silence",
    "Stairs",
    "Tea",
    "Tides",
    "Tools",
    "Umbrellas",
    "Walking",
    "Walls",
    "Weather",
    "Windows",
    "Wood",
    "Wool",
];

const DISHES: &[&str] = &[
    "Apples",
    "Barley",
    "Beans",
    "Bread",
    "Butter",
    "Chestnuts",
    "Dumplings",
    "Herring",
    "Honey",
    "Leeks",
    "Lemons",
    "Mushrooms",
    "Noodles",
    "Onions",
    "Pears",
    "Pickles",
    "Plums",
    "Potatoes",
    "Rye",
    "Soups",
    "Stews",
    "Tarts",
];

const CRAFTS: &[&str] = &[
    "Basketry",
    "Bookbinding",
    "Calligraphy",
    "Carving",
    "Darning",
    "Dovetails",
    "Enamel",
    "Felt",
    "Inlay",
    "Joinery",
    "Knots",
    "Lacquer",
    "Letterpress",
    "Linocut",
    "Marquetry",
    "Mosaic",
    "Pottery",
    "Quilting",
    "Stained Glass",
    "Tapestry",
    "Veneer",
    "Weaving",
    "Whittling",
];

const PEOPLE: &[&str] = &[
    "a retired signalman",
    "a young bookbinder",
    "a disgraced cartographer",
    "a widowed organist",
    "the last lamplighter",
    "a translator of tide tables",
    "a beekeeper with a past",
    "the younger of two sisters",
    "an insurance clerk",
    "a night-train steward",
    "a reluctant heir",
    "the keeper of a small museum",
    "a ferryman who cannot swim",
    "a schoolteacher on leave",
];

const EVENTS: &[&str] = &[
    "inherits a house with one room too many",
    "finds a ledger written in two hands",
    "receives a letter forty years late",
    "is asked to value a library nobody may enter",
    "misses the last boat of the season",
    "buys a clock that is always right about the wrong day",
    "agrees to finish a stranger's map",
    "hears a piano in a locked room",
    "takes a lodger who never sleeps",
    "is sent to close the smallest post office in the country",
];

const TURNS: &[&str] = &[
    "What begins as a favour ends as a reckoning.",
    "Nobody in town will say why.",
    "The answer was in the margin all along.",
    "By spring, three people will have lied for love.",
    "It would be simple, if only the weather would hold.",
    "Some doors are painted on.",
    "Everyone remembers that summer differently.",
    "The bill, as always, arrives in winter.",
    "There is a map; there is always a map.",
    "It is a quiet book about a loud year.",
];

const PRAISE: &[&str] = &[
    "Told with patience and a dry, forgiving wit.",
    "A book to lend and never get back.",
    "Exact, humane, and funnier than it has any right to be.",
    "Every sentence has been sanded twice.",
    "You will read the last chapter standing up.",
    "Made like good furniture: nothing wobbles.",
    "The footnotes alone are worth the shelf.",
    "It leaves the lamp on for you.",
];

const FACTS: &[&str] = &[
    "It starts from one ordinary object and ends, by way of a dozen trades, at the edge of the known.",
    "Drawn from parish records, shop ledgers and a great many conversations over tea.",
    "With forty plates, six maps and an appendix for the obstinate.",
    "Written for the reader who always asks how a thing is held together.",
    "A guide for beginners that the old hands will quietly consult.",
    "Half field notes, half argument, and wholly good company.",
];

const VERDICTS: &[&str] = &[
    "Read it on one long train journey and missed my stop.",
    "I have given away four copies so far.",
    "Slow for fifty pages, then I could not put it down.",
    "Not what the cover promises; better.",
    "Bought it for the title, kept it for the last chapter.",
    "My book group argued for three hours.",
    "Beautifully made. The paper alone is a pleasure.",
    "The index is a small masterpiece.",
    "Lovely to find something so unhurried.",
    "Made me laugh out loud in a waiting room.",
    "I learned more than I expected to, and enjoyed all of it.",
    "A keeper. It lives by the bed now.",
];

const DOUBTS: &[&str] = &[
    "I wanted to like it more than I did.",
    "A little long in the middle, but what an end.",
    "Half of it is wonderful; I could not say which half.",
    "The maps are upside down in my copy.",
    "Good company, though it never quite gets where it is going.",
    "Wait for the second edition.",
    "My sister swears by it. I swear at it.",
    "Too many lanterns.",
];

pub const PUBLISHERS: &[&str] = &[
    "Lantern House",
    "Greyfriars Press",
    "Quarto & Daughters",
    "Hollow Oak",
    "The Saltmarsh Press",
    "Veneer Editions",
    "Kiln Street Books",
    "Common Thread",
];

/// Lines of the day.
pub const QUOTES: &[&str] = &[
    "A page is a promise that somebody, somewhere, took the time.",
    "Shelve by colour if you must, but know that the books talk about you.",
    "The long tail is where the good dog keeps its opinions.",
    "Never lend a book you are not ready to buy again.",
    "A bookmark is an apology left between two pages.",
    "Buy the small book. It knows why it is small.",
];

/// Readings and evenings in the shop.
pub const EVENINGS: &[&str] = &[
    "{person}, in conversation",
    "An evening of {craft} and talk",
    "Reading by candle: {topic}",
    "{craft} for beginners, tools provided",
    "The slow book club reads on",
    "A walk, and then a chapter: {topic}",
];

/// Titles for stories.
pub const STORY_TITLES: &[&str] = &[
    "The {adjective} {noun}",
    "The {role}'s {noun}",
    "{plurals} of {place}",
    "The {noun} at {place}",
    "A {noun} for the {role}",
    "The {role} of {place}",
    "{plurals} and Other {plurals}",
    "What the {noun} Kept",
    "All the {adjective} {plurals}",
    "The {adjective} {role}",
    "The {noun} and the {noun}",
    "Goodbye to {place}",
];

/// Titles for crime.
pub const CRIME_TITLES: &[&str] = &[
    "Death of a {role}",
    "Murder at {place}",
    "The {place} {noun}",
    "The Body in the {noun}",
    "The {role} Did Not Sleep",
    "A {adjective} Alibi",
    "The Case of the {adjective} {noun}",
    "Nobody at {place}",
    "The {adjective} Witness",
    "Last {noun} to {place}",
];

/// Titles for science fiction.
pub const FUTURE_TITLES: &[&str] = &[
    "The {noun} Between {plurals}",
    "{plurals} of the Ninth Moon",
    "The {adjective} Engine",
    "A {noun} for Europa",
    "The {role} of Ceres",
    "Ten Thousand {plurals}",
    "The {adjective} Orbit",
    "Beyond the {adjective} {noun}",
    "When the {plurals} Woke",
    "The {noun} Protocol",
];

/// Titles for history and ideas.
pub const HISTORY_TITLES: &[&str] = &[
    "A Short History of {topic}",
    "{topic}: A Life",
    "The {role} and the Making of {place}",
    "{topic} in the Age of {topic}",
    "How {place} Invented {topic}",
    "The {adjective} Century",
    "{topic} and Power",
    "The {role}s of {place}",
];

/// Titles for nature.
pub const NATURE_TITLES: &[&str] = &[
    "The Secret Life of {topic}",
    "A Year of {plurals}",
    "{plurals} at the Window",
    "Among {plurals}",
    "The {adjective} Hedge",
    "Notes from {place}",
    "{topic}: A Field Guide",
    "Listening to {plurals}",
];

/// Titles for cookery.
pub const COOKERY_TITLES: &[&str] = &[
    "{dish} and {dish}",
    "The {adjective} Kitchen",
    "{dish}, Mostly",
    "Suppers from {place}",
    "The {role}'s Table",
    "A Pot of {dish}",
    "Forty Ways with {dish}",
    "The {place} Cookbook",
];

/// Titles for poetry.
pub const POETRY_TITLES: &[&str] = &[
    "{adjective} {plurals}",
    "Small {plurals}",
    "{noun} with {plurals}",
    "Poems for a {adjective} {noun}",
    "Eleven {plurals}",
    "{topic}, {topic}",
    "The {noun} Sonnets",
    "Where {plurals} Go",
];

/// Titles for crafts.
pub const CRAFT_TITLES: &[&str] = &[
    "{craft} by Hand",
    "The {adjective} Bench",
    "{craft}: A First Book",
    "The Art of {craft}",
    "Patient {craft}",
    "{craft} and {craft}",
    "The {role}'s Toolbox",
    "Thinking Through {craft}",
];

/// Titles for travel.
pub const TRAVEL_TITLES: &[&str] = &[
    "Slow Boat to {place}",
    "From {place} to {place}",
    "{plurals} of the North Road",
    "A {adjective} Walk to {place}",
    "The Ferry to {place}",
    "Three {plurals} in {place}",
    "By Rail to {place}",
    "The {adjective} Road",
];

/// Titles for children.
pub const CHILDREN_TITLES: &[&str] = &[
    "The {role} Who Lost a {noun}",
    "Goodnight, {plurals}",
    "{plurals} in the Kitchen",
    "The Very {adjective} {noun}",
    "Ottoline and the {plurals}",
    "Where the {plurals} Sleep",
    "Seven {adjective} {plurals}",
    "The {noun} Under the Stairs",
];

/// Blurbs of stories.
pub const STORY_BLURBS: &[&str] = &[
    "In {place}, {people} {event}. {turn} {praise}",
    "When {people} {event}, the whole of {place} has an opinion. {turn} {praise}",
    "{place}, the end of the season: {people} {event}. {praise} {turn}",
];

/// Blurbs of everything else.
pub const FACT_BLURBS: &[&str] = &[
    "{fact} {praise}",
    "On {topic}, {topic} and the people who cannot leave them alone. {fact} {praise}",
    "A year in {place} gave its author a subject, a bad knee and this book. {fact}",
];

/// What readers say who are of two minds.
pub const MIXED_REVIEWS: &[&str] = &["{doubt}", "{doubt} {doubt}"];

/// What readers say.
pub const REVIEWS: &[&str] = &["{verdict}", "{verdict} {verdict}", "{verdict} {praise}"];

/// Fills the braces of one of the templates, each with a word of its list; a word is not used twice in one text.
pub fn filled(templates: &[&str], seed: &mut Seed) -> String {
    let template = seed.pick(templates);
    let mut text = String::with_capacity(template.len() * 3);
    let mut used: Vec<&str> = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let Some((name, tail)) = after.split_once('}') else {
            break;
        };
        let word = unused(list(name), &used, seed);
        used.push(word);
        let article = text == "A " || text.ends_with(" a ");
        if article && takes_an(word) {
            text.insert(text.len() - 1, 'n');
        }
        // A sentence that opens with a place or a person opens with a capital.
        if text.is_empty() {
            text.extend(word.chars().take(1).flat_map(char::to_uppercase));
            text.extend(word.chars().skip(1));
        } else {
            text.push_str(word);
        }
        rest = tail;
    }
    text.push_str(rest);
    text
}

/// Whether the article before this word of our lists is "an".
fn takes_an(word: &str) -> bool {
    match word.chars().next() {
        Some('H') => word == "Hour",
        Some(letter) => "AEIOU".contains(letter),
        None => false,
    }
}

/// A word that is not among those used; after a few tries any.
fn unused<'a>(words: &[&'a str], used: &[&str], seed: &mut Seed) -> &'a str {
    let mut word = seed.pick(words);
    for _ in 0..8 {
        if !used.contains(&word) {
            break;
        }
        word = seed.pick(words);
    }
    word
}

fn list(name: &str) -> &'static [&'static str] {
    match name {
        "adjective" => ADJECTIVES,
        "noun" => NOUNS,
        "plurals" => PLURALS,
        "role" => ROLES,
        "place" => PLACES,
        "topic" => TOPICS,
        "dish" => DISHES,
        "craft" => CRAFTS,
        "people" => PEOPLE,
        "person" => FIRST_NAMES,
        "event" => EVENTS,
        "turn" => TURNS,
        "praise" => PRAISE,
        "fact" => FACTS,
        "verdict" => VERDICTS,
        "doubt" => DOUBTS,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_brace_of_every_template_names_a_list() {
        for templates in [
            EVENINGS,
            STORY_TITLES,
            CRIME_TITLES,
            FUTURE_TITLES,
            HISTORY_TITLES,
            NATURE_TITLES,
            COOKERY_TITLES,
            POETRY_TITLES,
            CRAFT_TITLES,
            TRAVEL_TITLES,
            CHILDREN_TITLES,
            STORY_BLURBS,
            FACT_BLURBS,
            REVIEWS,
            MIXED_REVIEWS,
        ] {
            for template in templates {
                for part in template.split('{').skip(1) {
                    let name = part.split_once('}').expect("a brace closes").0;
                    assert!(!list(name).is_empty(), "{name} in {template}");
                }
            }
        }
    }

    #[test]
    fn an_article_fits_its_word() {
        for (word, wanted) in [
            ("Open", "An Open"),
            ("Hour", "An Hour"),
            ("Heron", "A Heron"),
        ] {
            let article = if takes_an(word) { "An" } else { "A" };
            assert_eq!(format!("{article} {word}"), wanted);
        }
        for index in 0..300 {
            let text = filled(
                &["A {adjective} Alibi", "To a {noun}"],
                &mut Seed::of(9, index),
            );
            assert!(!text.contains("A O") && !text.contains(" a A"), "{text}");
        }
    }

    #[test]
    fn a_word_does_not_come_twice_in_one_text() {
        for index in 0..300 {
            let text = filled(&["{noun}+{noun}"], &mut Seed::of(7, index));
            let (one, other) = text.split_once('+').expect("the template holds a plus");
            assert_ne!(one, other);
        }
    }
}
