//! The page's folder exists before the program is built, whether or not the page has been.
//!
//! In debug builds the page is read from its folder at run time; the path is settled when the program is built,
//! and a folder that is made only later would not be found.

use std::path::Path;

fn main() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../frontend/dist");
    if let Err(error) = std::fs::create_dir_all(&page) {
        println!("cargo::warning=`{}` could not be made: {error}", page.display());
    }
    // A release build carries the page inside.
    println!("cargo::rerun-if-changed={}", page.display());
    println!("cargo::rerun-if-changed=build.rs");
}
