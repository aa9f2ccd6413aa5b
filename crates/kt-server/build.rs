//! Lists the files of the console's languages, so that another language is one more file and nothing else.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Where the files are.
const FOLDER: &str = "messages";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let mut files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<PathBuf>, std::io::Error>>()?;
    files.retain(|path| path.extension().is_some_and(|ends| ends == "po"));
    files.sort();
    let listed: String = files.iter().filter_map(|path| listed(path)).collect();
    let out = env::var_os("OUT_DIR").ok_or("cargo says where: OUT_DIR")?;
    fs::write(Path::new(&out).join("languages.rs"), format!("&[\n{listed}]\n"))?;
    Ok(())
}

/// The tag of a language, which is the name of its file, and what the file holds.
fn listed(path: &Path) -> Option<String> {
    Some(format!("    ({:?}, include_str!({:?})),\n", path.file_stem()?.to_str()?, path.to_str()?))
}
