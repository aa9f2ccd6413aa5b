//! The signature that lies in the element it signs (XML Signature 1.1, in the profile of SAML core section 5.4).
//!
//! Only one form is accepted, the one that the standard recommends and that providers make: one reference, to the element
//! that the signature lies in directly, by its ID; the enveloped-signature transform and exclusive canonicalisation, and
//! nothing else. Within it there is nothing to be interpreted: the element is written out in its canonical form and hashed,
//! and what is read afterwards is read from the very same element.

use aws_lc_rs::digest::{self, Algorithm, SHA256, SHA384, SHA512};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bergshamra_c14n::{C14nMode, canonicalize_doc};
use bergshamra_xml::NodeSet;

use crate::certificate::{Certificate, SignatureAlgorithm};
use crate::name;
use crate::refusal::Refusal;
use crate::xml::Element;

/// How many prefixes a canonicalisation may name. Each is looked for in every element; providers name one or two.
const MAX_PREFIXES: usize = 32;

/// Which elements of a message carry a signature that was checked.
pub(crate) struct Signed {
    root: bool,
    inner: bool,
}

impl Signed {
    /// Whether the outermost element is signed, and with it everything.
    pub(crate) fn is_root(&self) -> bool {
        self.root
    }

    /// Whether everything in the inner element is signed.
    pub(crate) fn covers_inner(&self) -> bool {
        self.root || self.inner
    }
}

/// Checks every signature of a message. There may be one in its outermost element and one in the `inner` one, which lies
/// directly in that; anywhere else a signature is refused, and one that does not hold is refused wherever it is.
pub(crate) fn check(
    root: Element<'_>,
    inner: Option<Element<'_>>,
    trusted: &[Certificate],
) -> Result<Signed, Refusal> {
    let places = [Some(root.node()), inner.map(Element::node)];
    let is_signature = |element: &Element<'_>| element.is(name::SIGNATURE, "Signature");
    if root.descendants().filter(is_signature).any(|signature| !places.contains(&signature.parent())) {
        return Err(Refusal::SignatureForm("a signature must lie directly in what it signs"));
    }
    let signed = Signed {
        root: check_in(root, trusted)?,
        inner: inner.map_or(Ok(false), |it| check_in(it, trusted))?,
    };
    if signed.covers_inner() { Ok(signed) } else { Err(Refusal::Unsigned) }
}

/// Whether `element` carries a signature, which then holds.
fn check_in(element: Element<'_>, trusted: &[Certificate]) -> Result<bool, Refusal> {
    let mut signatures = element.all(name::SIGNATURE, "Signature");
    let Some(signature) = signatures.next() else { return Ok(false) };
    if signatures.next().is_some() {
        return Err(Refusal::SignatureForm("there is more than one signature in an element"));
    }
    // Core, section 5.4 and the schemas: the issuer comes first, then the signature.
    if element.children().nth(1).map(Element::node) != Some(signature.node()) {
        return Err(Refusal::SignatureForm("the signature must come right after the issuer"));
    }
    let parts = Parts::of(signature)?;
    let (reference, algorithm) = parts.signed_info()?;
    let reference = Reference::of(element, reference)?;
    // First whether the provider has signed this: what a stranger sends is not worth writing out and hashing.
    let canonical = canonical(parts.info, None, &prefixes_of(parts.canonicalization)?)?;
    let value = bytes_of(parts.value)?;
    if !trusted.iter().any(|certificate| certificate.verifies(algorithm, &canonical, &value)) {
        return Err(Refusal::UnknownKey);
    }
    if reference.holds(element, signature)? { Ok(true) } else { Err(Refusal::Digest) }
}

/// The parts of a signature. What its `KeyInfo` says is not among them: whoever forges a message writes that too.
struct Parts<'t> {
    info: Element<'t>,
    canonicalization: Element<'t>,
    method: Element<'t>,
    reference: Element<'t>,
    value: Element<'t>,
}

impl<'t> Parts<'t> {
    fn of(signature: Element<'t>) -> Result<Self, Refusal> {
        let (info, value) = match *signature.children().collect::<Vec<_>>() {
            [info, value] => (info, value),
            [info, value, key] if key.is(name::SIGNATURE, "KeyInfo") => (info, value),
            _ => {
                return Err(Refusal::SignatureForm(
                    "it holds more or less than SignedInfo, SignatureValue and KeyInfo",
                ));
            }
        };
        let [canonicalization, method, reference] = *info.children().collect::<Vec<_>>() else {
            return Err(Refusal::SignatureForm("it must hold one reference"));
        };
        let named = [
            (info, "SignedInfo"),
            (value, "SignatureValue"),
            (canonicalization, "CanonicalizationMethod"),
            (method, "SignatureMethod"),
            (reference, "Reference"),
        ];
        if named.iter().all(|(element, name)| element.is(name::SIGNATURE, name)) {
            Ok(Self { info, canonicalization, method, reference, value })
        } else {
            Err(Refusal::SignatureForm("its parts are not in the order of the standard"))
        }
    }

    /// The reference, and how `SignedInfo` is signed.
    fn signed_info(&self) -> Result<(Element<'t>, SignatureAlgorithm), Refusal> {
        is_exclusive(self.canonicalization)?;
        if self.method.children().next().is_some() {
            return Err(Refusal::SignatureForm("its method has parameters"));
        }
        let uri = self.method.attribute("Algorithm").unwrap_or_default();
        let algorithm = SignatureAlgorithm::named(uri).ok_or_else(|| Refusal::Algorithm(uri.to_owned()))?;
        Ok((self.reference, algorithm))
    }
}

/// What the signature says of the element that it signs.
struct Reference {
    algorithm: &'static Algorithm,
    digest: Vec<u8>,
    prefixes: Vec<String>,
}

impl Reference {
    /// Reads a reference to `element` in the one form that is accepted.
    fn of(element: Element<'_>, reference: Element<'_>) -> Result<Self, Refusal> {
        let id = element.attribute("ID").filter(|id| !id.is_empty());
        let names_element =
            id.is_some_and(|id| reference.attribute("URI").and_then(|it| it.strip_prefix('#')) == Some(id));
        if !names_element {
            return Err(Refusal::SignatureForm("its reference must name the element that it lies in"));
        }
        let [transforms, method, value] = *reference.children().collect::<Vec<_>>() else {
            return Err(Refusal::SignatureForm(
                "its reference must hold transforms, a digest method and a digest",
            ));
        };
        let is_built_right = transforms.is(name::SIGNATURE, "Transforms")
            && method.is(name::SIGNATURE, "DigestMethod")
            && value.is(name::SIGNATURE, "DigestValue")
            && method.children().next().is_none();
        let [enveloped, exclusive] = *transforms.children().collect::<Vec<_>>() else {
            return Err(Refusal::SignatureForm(
                "its transforms must be enveloped-signature and exclusive canonicalisation",
            ));
        };
        let are_transforms = [enveloped, exclusive].iter().all(|it| it.is(name::SIGNATURE, "Transform"))
            && enveloped.attribute("Algorithm") == Some(name::ENVELOPED)
            && enveloped.children().next().is_none();
        if !is_built_right || !are_transforms {
            return Err(Refusal::SignatureForm(
                "its transforms must be enveloped-signature and exclusive canonicalisation",
            ));
        }
        is_exclusive(exclusive)?;
        let uri = method.attribute("Algorithm").unwrap_or_default();
        let algorithm = match uri {
            "http://www.w3.org/2001/04/xmlenc#sha256" => &SHA256,
            "http://www.w3.org/2001/04/xmldsig-more#sha384" => &SHA384,
            "http://www.w3.org/2001/04/xmlenc#sha512" => &SHA512,
            _ => return Err(Refusal::Algorithm(uri.to_owned())),
        };
        Ok(Self { algorithm, digest: bytes_of(value)?, prefixes: prefixes_of(exclusive)? })
    }

    /// Whether its digest is that of `element` without the `signature` in it.
    fn holds(&self, element: Element<'_>, signature: Element<'_>) -> Result<bool, Refusal> {
        let canonical = canonical(element, Some(signature), &self.prefixes)?;
        Ok(digest::digest(self.algorithm, &canonical).as_ref() == self.digest)
    }
}

fn is_exclusive(method: Element<'_>) -> Result<(), Refusal> {
    match method.attribute("Algorithm") {
        Some(name::EXCLUSIVE | name::EXCLUSIVE_WITH_COMMENTS) => Ok(()),
        _ => Err(Refusal::SignatureForm("it must use exclusive canonicalisation")),
    }
}

/// The prefixes that are written out although they do not show (Exclusive XML Canonicalization, section 2).
fn prefixes_of(method: Element<'_>) -> Result<Vec<String>, Refusal> {
    let parameters: Vec<_> = method.children().collect();
    match *parameters {
        [] => Ok(Vec::new()),
        [list] if list.is(name::EXCLUSIVE, "InclusiveNamespaces") && list.children().next().is_none() => {
            let prefixes = list.attribute("PrefixList").unwrap_or_default().split_ascii_whitespace();
            let prefixes: Vec<String> = prefixes.take(MAX_PREFIXES + 1).map(str::to_owned).collect();
            if prefixes.len() > MAX_PREFIXES {
                return Err(Refusal::SignatureForm("its canonicalisation names too many prefixes"));
            }
            Ok(prefixes)
        }
        _ => Err(Refusal::SignatureForm("its canonicalisation has parameters that are not known")),
    }
}

/// The canonical form of an element, `without` one that lies in it.
fn canonical(
    element: Element<'_>,
    without: Option<Element<'_>>,
    prefixes: &[String],
) -> Result<Vec<u8>, Refusal> {
    let document = element.tree().document();
    let mut nodes = NodeSet::tree_without_comments(element.node(), document);
    if let Some(left_out) = without {
        nodes.remove_id(left_out.node());
        for inside in document.descendants(left_out.node()) {
            nodes.remove_id(inside);
        }
    }
    let bytes = canonicalize_doc(document, C14nMode::Exclusive, Some(&nodes), prefixes)
        .map_err(|_| Refusal::SignatureForm("what it signs has no canonical form"))?;
    // A canonicaliser that gave nothing would make every message fit the digest of nothing (CVE-2025-66475).
    if bytes.starts_with(b"<") {
        Ok(bytes)
    } else {
        Err(Refusal::SignatureForm("what it signs has no canonical form"))
    }
}

/// What the Base64 text of an element stands for.
fn bytes_of(element: Element<'_>) -> Result<Vec<u8>, Refusal> {
    let text = element.text().ok_or(Refusal::SignatureForm("a value of it is no text"))?;
    let compact: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(compact).map_err(|_| Refusal::SignatureForm("a value of it is no Base64"))
}
