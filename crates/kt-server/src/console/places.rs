//! Where the console shows what an identifier names, so that pages lead there: only to what there still is, and to nobody who
//! may not see it.

use kt_domain::error::{Error, ErrorKind};
use kt_domain::id::{ApiKeyId, UserId};

use super::pages::{keys, members};
use super::visit::Visit;
use crate::Doors;

/// The page of the member or the API key of this identifier, where there is one; `None` for whatever else it names.
pub(crate) async fn place_of(
    doors: &Doors,
    visit: &Visit,
    id: Option<&str>,
) -> Result<Option<String>, Error> {
    let Some(id) = id else { return Ok(None) };
    if let Ok(user) = id.parse::<UserId>() {
        let member = seen(doors.control.member(&visit.ctx, &user).await)?;
        return Ok(member.map(|_| format!("{}/{user}", members::PAGE)));
    }
    if let Ok(key) = id.parse::<ApiKeyId>() {
        let view = seen(doors.control.key(&visit.ctx, &key).await)?;
        return Ok(view.as_ref().map(keys::place_of));
    }
    Ok(None)
}

/// The page of the gateway that is called so.
pub(crate) async fn place_of_gateway(
    doors: &Doors,
    visit: &Visit,
    id: &str,
) -> Result<Option<String>, Error> {
    let view = seen(doors.control.gateway(&visit.ctx, id).await)?;
    // The name of one that there is consists of characters that stand in an address as they are.
    Ok(view.map(|_| format!("/gateways/{id}")))
}

/// What was found; nothing where there is none, or none that whoever looks may see.
fn seen<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Forbidden) => Ok(None),
        Err(error) => Err(error),
    }
}
