//! Letters to try things on.

use kt_control::mail::{Letter, Message, Rendered, Renderer};
use kt_domain::public_url::PublicUrl;
use uuid::Uuid;

/// An invitation to `to`, as the system writes it, under a subject that is not ASCII.
pub(crate) fn letter(to: &str) -> Letter {
    let message =
        Message::samples().into_iter().find(|message| matches!(message, Message::Invitation { .. })).unwrap();
    let to = to.parse().unwrap();
    let home = PublicUrl::parse("https://keeptrusts.example.org").unwrap();
    let subject = "Einladung zu Übermut & Söhne — 山田".to_owned();
    let content = Rendered { subject, ..Renderer::new(home).render(&message, &to) };
    Letter {
        id: Uuid::from_u128(7),
        from: "Keeptrusts <no-reply@example.org>".parse().unwrap(),
        to,
        date: "2026-03-05T14:02:31.25Z".parse().unwrap(),
        content,
    }
}
