//! Every route of the OpenAPI document, those too that come later, with what it asks for.

use std::sync::LazyLock;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

/// A route, and where values go into it.
pub(crate) struct Operation {
    pub(crate) method: Method,
    /// With the names of its parameters in braces.
    pub(crate) path: String,
    pub(crate) query: Vec<String>,
    pub(crate) body: Option<Value>,
}

impl Operation {
    /// The path as one would ask for it, with a word in the place of each parameter.
    pub(crate) fn plain_path(&self) -> String {
        self.path.replace(['{', '}'], "")
    }
}

/// Every route, with a body as its schema asks for, whose secrets are all `canary`.
pub(crate) fn operations(canary: &str) -> Vec<Operation> {
    let document = serde_json::to_value(kt_server::openapi()).unwrap();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let query = parameters.filter(|parameter| parameter["in"] == "query");
            found.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                query: query.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect(),
                body: (!schema.is_null()).then(|| example(&document, schema, "", canary)),
            });
        }
    }
    found
}

/// A value as `schema` asks for.
fn example(document: &Value, schema: &Value, name: &str, canary: &str) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        return example(document, schema, name, canary);
    }
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        let choices = schema[choice].as_array().into_iter().flatten();
        if let Some(chosen) = choices.into_iter().find(|schema| schema["type"] != "null") {
            return example(document, chosen, name, canary);
        }
    }
    let kinds = [&schema["type"], &schema["type"][0], &schema["type"][1]];
    let is = |kind: &str| kinds.iter().any(|found| *found == kind);
    if is("object") {
        let fields = schema["properties"].as_object().into_iter().flatten();
        let values = fields.map(|(name, schema)| (name.clone(), example(document, schema, name, canary)));
        Value::Object(values.collect::<Map<_, _>>())
    } else if is("array") {
        json!([example(document, &schema["items"], name, canary)])
    } else if is("string") {
        Value::from(if is_secret(name) { canary } else { "owner@acme.example" })
    } else if is("boolean") {
        json!(true)
    } else {
        json!(1)
    }
}

/// Whether a field of this name holds what nobody else may read.
pub(crate) fn is_secret(name: &str) -> bool {
    ["password", "token", "secret", "code", "key"].iter().any(|word| name.ends_with(word))
}

/// The statuses that the document names for each operation.
static STATUSES: LazyLock<Vec<(Method, String, Vec<u16>)>> = LazyLock::new(|| {
    let document = serde_json::to_value(kt_server::openapi()).unwrap();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let statuses = operation["responses"].as_object().unwrap().keys();
            let statuses = statuses.map(|status| status.parse().unwrap()).collect();
            all.push((method.to_uppercase().parse().unwrap(), path.clone(), statuses));
        }
    }
    all
});

/// Fails where an operation was answered with a status that the document does not name for it.
pub(crate) fn require_documented(method: &Method, path: &str, status: StatusCode) {
    let fits = |template: &str| {
        template.split('/').count() == path.split('/').count()
            && template
                .split('/')
                .zip(path.split('/'))
                .all(|(one, other)| one.starts_with('{') || one == other)
    };
    // A path of its own comes before one with a parameter.
    let found = STATUSES.iter().filter(|(its, template, _)| its == method && fits(template));
    if let Some((_, template, statuses)) = found.min_by_key(|(_, template, _)| template.contains('{')) {
        assert!(statuses.contains(&status.as_u16()), "{method} {template} is documented without {status}");
    }
}

#[test]
fn every_list_that_ends_in_a_cursor_takes_one_and_a_limit() {
    let document = serde_json::to_value(kt_server::openapi()).unwrap();
    let mut lists = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let answer = &methods["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
        let answer = answer.as_str().and_then(|name| document.pointer(name.trim_start_matches('#')));
        if answer.is_none_or(|answer| answer["properties"]["next_cursor"].is_null()) {
            continue;
        }
        lists += 1;
        let parameters = methods["get"]["parameters"].as_array().into_iter().flatten();
        let names: Vec<&Value> = parameters.map(|parameter| &parameter["name"]).collect();
        assert!(
            ["limit", "cursor"].iter().all(|name| names.contains(&&json!(name))),
            "{path} takes {names:?}"
        );
    }
    assert!(lists > 10, "{lists}");
}
