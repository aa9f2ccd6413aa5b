//! The console: pages made on the server, for people with a browser.
//!
//! Each page is one `GET` that shows what is so, and one `POST` for each thing that can be done there; a `POST` that
//! succeeds leads back to the page, one that fails is told beside the field at fault and changes nothing. The script of
//! the pages ([`assets`]) sends forms with their token, puts the answer's `<main>` in place of the old one, and
//! shows failures. The browser holds a cookie and never a token of the API.

mod answer;
mod asked;
mod assets;
mod chart;
mod columns;
mod cookies;
mod filters;
mod guard;
mod guide;
mod labels;
mod look;
mod markdown;
mod messages;
mod own_host;
mod pages;
mod places;
mod routes;
mod table;
mod visit;

pub use routes::console;
