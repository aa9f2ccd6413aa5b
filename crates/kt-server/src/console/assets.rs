//! The files of the pages: style, script, font and icons, part of the program.
//!
//! Each has an address with a digest of its content, so that browsers may keep it for ever, and is served compressed
//! where that helps.

use std::borrow::Cow;
use std::io::Write;
use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use kt_domain::error::Error;
use sha2::{Digest, Sha256};

use crate::failure::Failure;

/// A file of the pages.
struct Asset {
    address: String,
    content_type: &'static str,
    plain: Cow<'static, [u8]>,
    /// Compressed by gzip, where that makes it smaller.
    gzip: Option<Vec<u8>>,
}

/// The addresses of all files, for templates.
pub(crate) struct Assets {
    pub(crate) style: String,
    pub(crate) script: String,
    pub(crate) fields: String,
    pub(crate) session: String,
    pub(crate) keyboard: String,
    pub(crate) htmx: String,
    pub(crate) passkeys: String,
    pub(crate) chat: String,
    pub(crate) icons: String,
    pub(crate) font: String,
    pub(crate) mark: String,
    files: Vec<Asset>,
}

/// Where files are served.
const PLACE: &str = "/assets/";

/// All files.
pub(crate) static ASSETS: LazyLock<Assets> = LazyLock::new(Assets::new);

impl Assets {
    fn new() -> Self {
        let script = "text/javascript; charset=utf-8";
        let font = Asset::new("inter.woff2", "font/woff2", include_bytes!("../../static/inter.woff2"));
        // The style names the font, whose address is told by its content.
        let style = include_str!("../../static/app.css").replace("/assets/inter.woff2", &font.address);
        let style = Asset::new("app.css", "text/css; charset=utf-8", style.into_bytes());
        let app = Asset::new("app.js", script, include_bytes!("../../static/app.js"));
        let fields = Asset::new("fields.js", script, include_bytes!("../../static/fields.js"));
        let session = Asset::new("session.js", script, include_bytes!("../../static/session.js"));
        let keyboard = Asset::new("keyboard.js", script, include_bytes!("../../static/keyboard.js"));
        let htmx = Asset::new("htmx.js", script, include_bytes!("../../static/htmx.min.js"));
        let passkeys = Asset::new("passkeys.js", script, include_bytes!("../../static/passkeys.js"));
        let chat = Asset::new("chat.js", script, include_bytes!("../../static/chat.js"));
        let icons = Asset::new("icons.svg", "image/svg+xml", include_bytes!("../../static/icons.svg"));
        let mark = Asset::new("mark.svg", "image/svg+xml", include_bytes!("../../static/mark.svg"));
        Self {
            style: style.address.clone(),
            script: app.address.clone(),
            fields: fields.address.clone(),
            session: session.address.clone(),
            keyboard: keyboard.address.clone(),
            htmx: htmx.address.clone(),
            passkeys: passkeys.address.clone(),
            chat: chat.address.clone(),
            icons: icons.address.clone(),
            font: font.address.clone(),
            mark: mark.address.clone(),
            files: vec![style, app, fields, session, keyboard, htmx, passkeys, chat, icons, font, mark],
        }
    }
}

impl Asset {
    fn new(name: &str, content_type: &'static str, plain: impl Into<Cow<'static, [u8]>>) -> Self {
        let plain = plain.into();
        let digest = URL_SAFE_NO_PAD.encode(&Sha256::digest(&plain)[..9]);
        let address = format!("{PLACE}{digest}/{name}");
        let gzip = compressed(&plain).filter(|gzip| gzip.len() < plain.len());
        Self { address, content_type, plain, gzip }
    }
}

fn compressed(plain: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok()
}

/// A file, by the address that the pages name.
pub(crate) async fn asset(Path((digest, name)): Path<(String, String)>, asked: HeaderMap) -> Response {
    let address = format!("{PLACE}{digest}/{name}");
    let Some(asset) = ASSETS.files.iter().find(|asset| asset.address == address) else {
        return Failure(Error::not_found("file")).into_response();
    };
    let accepts = asked.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let takes_gzip = accepts.is_some_and(|accepts| accepts.contains("gzip"));
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let body = match asset.gzip.as_ref().filter(|_| takes_gzip) {
        Some(gzip) => {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Body::from(gzip.as_slice())
        }
        None => Body::from(&*asset.plain),
    };
    (StatusCode::OK, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a browser fetches before it can show a page: 60 kB of script and 40 kB of style at most, compressed.
    #[test]
    fn scripts_and_style_stay_small() {
        let compressed = |ends: &str| -> usize {
            let files = ASSETS.files.iter().filter(|file| file.address.ends_with(ends));
            files.map(|file| file.gzip.as_ref().map_or(file.plain.len(), Vec::len)).sum()
        };
        assert!((1..60_000).contains(&compressed(".js")), "{}", compressed(".js"));
        assert!((1..40_000).contains(&compressed(".css")), "{}", compressed(".css"));
    }

    #[test]
    fn an_address_tells_the_content() {
        let (one, other) = (Asset::new("a.css", "text/css", b"a"), Asset::new("a.css", "text/css", b"b"));
        assert_ne!(one.address, other.address);
        assert_eq!(one.address, Asset::new("a.css", "text/css", b"a").address);
    }
}
