//! Load with fan-out in mind: how many answers a server gives, how soon, and whether each user gets their own.
//!
//! A [`Plan`](plan::Plan) says what to send; [`run`](run::run) sends it from worker threads of its own and gives back a
//! [`Tally`](tally::Tally); [`duel`](duel::duel) alternates two targets; [`report`] draws what was measured as text, JSON or a page.
//! The client is a lean HTTP/1.1 reader of its own ([`client`], [`answer`]): no task, channel or allocation for a request, so that the
//! tool's cost does not hide the server's. It knows nothing of the gateway, except the JSON of the admin listener's recent pages
//! ([`pages`]).

pub mod answer;
pub mod client;
pub mod cost;
pub mod duel;
pub mod pages;
pub mod plan;
pub mod progress;
pub mod report;
pub mod run;
pub mod schedule;
pub mod tally;
pub mod target;
pub mod users;
pub mod zipf;
