//! The modules of a crate, and whom each of them names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, Macro, UseTree};

/// A module by its path in the crate, like `["files", "upload", "put"]`.
pub(crate) type Module = Vec<String>;

/// A file's module, the paths that it names, and its macros.
pub(crate) struct Source {
    pub file: PathBuf,
    pub named: BTreeSet<Module>,
    pub macros: BTreeSet<String>,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap().to_owned()
}

pub(crate) fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return files;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// All modules of a crate but its tests, with their references resolved to modules of the same crate.
pub(crate) fn modules(src: &Path) -> BTreeMap<Module, Source> {
    let files = rust_files(src);
    let of_file = |file: &PathBuf| -> Module {
        let inside = file.strip_prefix(src).unwrap().with_extension("");
        let mut module: Module = inside
            .iter()
            .map(|part| part.to_str().unwrap().to_owned())
            .collect();
        if module
            .last()
            .is_some_and(|last| last == "mod" || last == "lib")
        {
            module.pop();
        }
        module
    };
    let known: BTreeSet<Module> = files.iter().map(of_file).collect();
    let mut modules = BTreeMap::new();
    for file in &files {
        let module = of_file(file);
        if module.iter().any(|part| part == "tests") {
            continue;
        }
        let text = fs::read_to_string(file).unwrap();
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let mut reader = Reader::new(module.clone());
        reader.visit_file(&syntax);
        let named = reader.resolved(&known);
        let source = Source {
            file: file.clone(),
            named,
            macros: reader.macros,
        };
        modules.insert(module, source);
    }
    modules
}

struct Reader {
    module: Module,
    /// What each imported name stands for.
    imports: HashMap<String, Module>,
    paths: Vec<Vec<String>>,
    macros: BTreeSet<String>,
}

impl Reader {
    fn new(module: Module) -> Self {
        Self {
            module,
            imports: HashMap::new(),
            paths: Vec::new(),
            macros: BTreeSet::new(),
        }
    }

    /// From the root of the crate; `None` for what lies outside of it.
    fn absolute(&self, path: &[String]) -> Option<Module> {
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([&self.module, &path[1..]].concat()),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let base = self.module.len().checked_sub(ups)?;
                Some([&self.module[..base], &path[ups..]].concat())
            }
            name => {
                let import = self.imports.get(name)?;
                Some([import, &path[1..]].concat())
            }
        }
    }

    fn import(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.import(&with(&path.ident), &path.tree),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(prefix, tree);
                }
            }
            UseTree::Name(name) if name.ident == "self" => self.note_import(prefix.to_vec(), None),
            UseTree::Name(name) => self.note_import(with(&name.ident), None),
            UseTree::Rename(rename) => {
                self.note_import(with(&rename.ident), Some(rename.rename.to_string()));
            }
            UseTree::Glob(_) => self.paths.push(prefix.to_vec()),
        }
    }

    fn note_import(&mut self, path: Vec<String>, name: Option<String>) {
        if let Some(absolute) = self.absolute(&path)
            && let Some(last) = name.or_else(|| path.last().cloned())
        {
            self.imports.insert(last, absolute);
        }
        self.paths.push(path);
    }

    /// The modules that the paths lie in, without this one.
    fn resolved(&self, known: &BTreeSet<Module>) -> BTreeSet<Module> {
        let absolute = self.paths.iter().filter_map(|path| self.absolute(path));
        let modules = absolute.filter_map(|path| {
            let lengths = (1..=path.len()).rev();
            let mut prefixes = lengths.map(|length| path[..length].to_vec());
            prefixes.find(|prefix| known.contains(prefix))
        });
        modules.filter(|module| *module != self.module).collect()
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter();
        self.paths
            .push(segments.map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        let segments = called.path.segments.iter();
        let name: Vec<String> = segments.map(|segment| segment.ident.to_string()).collect();
        self.macros.insert(name.join("::"));
        visit::visit_macro(self, called);
    }
}
