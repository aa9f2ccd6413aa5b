//! Another key in the place of the one that seals secrets (NIST SP 800-57 part 1 section 5.3.5: a key has an end).

use kt_domain::audit::AuditAction;
use kt_domain::ctx::Ctx;
use kt_domain::error::Error;
use kt_store::sealed::{self, Sealed, SealedKind};
use serde_json::json;

use crate::authenticate::require_operator;
use crate::control::Control;

/// How many values are sealed anew at once: servers that write wait as long.
const AT_ONCE: usize = 500;

impl Control {
    /// Seals anew with the newest key what was sealed with an older one; how many values, and meanwhile, after each piece,
    /// how many so far. What changes meanwhile is left to the next time. What lives for minutes, such as places in lists,
    /// ends by itself.
    pub async fn reseal(&self, ctx: &Ctx, mut so_far: impl FnMut(usize) + Send) -> Result<usize, Error> {
        require_operator(ctx)?;
        let mut anew = 0;
        for &kind in SealedKind::ALL {
            for older in self.sealed_with_older_keys(kind).await?.chunks(AT_ONCE) {
                anew += self.seal_anew(older).await?;
                so_far(anew);
            }
        }
        self.record_operation(ctx, AuditAction::Resealed, json!({ "sealed_anew": anew })).await?;
        Ok(anew)
    }

    /// Seals these with the newest key, but for those that were changed meanwhile; how many.
    async fn seal_anew(&self, older: &[Sealed]) -> Result<usize, Error> {
        let mut anew = 0;
        let tx = self.store.begin_write().await?;
        for value in older {
            let place = value.place();
            let secret = self.seal.open(&place, &value.text)?;
            let text = self.draw(|random| self.seal.seal(&place, &secret, random))?;
            anew += usize::from(sealed::replace(&tx, value, &text).await?);
        }
        tx.commit().await?;
        Ok(anew)
    }

    /// How many values only an older key opens.
    pub async fn count_sealed_with_older_keys(&self, ctx: &Ctx) -> Result<usize, Error> {
        require_operator(ctx)?;
        let mut count = 0;
        for &kind in SealedKind::ALL {
            count += self.sealed_with_older_keys(kind).await?.len();
        }
        Ok(count)
    }

    async fn sealed_with_older_keys(&self, kind: SealedKind) -> Result<Vec<Sealed>, Error> {
        let all = sealed::all(&self.store, kind).await?;
        Ok(all.into_iter().filter(|value| !self.seal.is_of_newest(&value.text)).collect())
    }
}
