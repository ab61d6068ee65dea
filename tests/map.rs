//! Checks the code against `docs/architecture.md`: a module uses only modules below it, a crate is named only where
//! the page says, and files form no cycle.
//!
//! Code under `#[cfg(test)]` does not count, and neither does a module's use of its own submodules: they are parts of it.

#![expect(clippy::wildcard_enum_match_arm, reason = "syn may add kinds of items and trees")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::{
    Attribute, File, Item, ItemMod, ItemUse, UseTree,
    visit::{self, Visit},
};

/// The path of a module without `crate`; that of `src/lib.rs` is empty.
type Module = Vec<String>;

/// The modules of the library, each with the paths that its file names outside of tests.
struct Code(BTreeMap<Module, BTreeSet<Module>>);

impl Code {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut references = BTreeMap::new();
        read_module(&root, Vec::new(), &root.join("lib.rs"), &mut references);
        Self(references)
    }

    /// The module in whose file the item at `path` is declared or re-exported.
    fn module_of(&self, path: &[String]) -> Option<&Module> {
        (1..=path.len())
            .rev()
            .find_map(|length| self.0.get_key_value(path.get(..length)?).map(|(module, _)| module))
    }

    /// Pairs of a module and another one that it uses.
    fn uses(&self) -> impl Iterator<Item = (&Module, &Module)> {
        self.0.iter().flat_map(move |(module, paths)| {
            let used: BTreeSet<_> = paths.iter().filter_map(|path| self.module_of(path)).collect();
            used.into_iter()
                .filter(move |used| !used.starts_with(module))
                .map(move |used| (module, used))
        })
    }
}

fn read_module(
    folder: &Path,
    module: Module,
    path: &Path,
    code: &mut BTreeMap<Module, BTreeSet<Module>>,
) {
    let file = parse(path);
    let mut references =
        References { module: module.clone(), children: children(&file), found: BTreeSet::new() };
    references.visit_file(&file);
    for child in &references.children {
        let mut child_module = module.clone();
        child_module.push(child.clone());
        let inner = folder.join(child);
        let beside = folder.join(format!("{child}.rs"));
        let path = if beside.exists() { beside } else { inner.join("mod.rs") };
        read_module(&inner, child_module, &path, code);
    }
    code.insert(module, references.found);
}

fn parse(path: &Path) -> File {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The submodules that have a file of their own and are not for tests.
fn children(file: &File) -> Vec<String> {
    let modules = file.items.iter().filter_map(|item| match item {
        Item::Mod(module) if module.content.is_none() && !is_test(&module.attrs) => {
            Some(module.ident.to_string())
        }
        _ => None,
    });
    modules.collect()
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test")
    })
}

/// Collects the paths that a file names, as seen from the root of the crate.
struct References {
    module: Module,
    children: Vec<String>,
    found: BTreeSet<Module>,
}

impl References {
    /// Another crate's path begins with the name of the crate, which is no module here.
    fn record(&mut self, path: &[String]) {
        let Some(first) = path.first() else { return };
        let supers = path.iter().take_while(|segment| *segment == "super").count();
        let (base, rest) = match first.as_str() {
            "crate" => (0, 1),
            "self" => (self.module.len(), 1),
            "super" => (self.module.len().saturating_sub(supers), supers),
            child if self.children.iter().any(|name| name == child) => (self.module.len(), 0),
            _ => {
                self.found.insert(vec![format!("extern {first}")]);
                return;
            }
        };
        self.found
            .insert(self.module.iter().take(base).chain(path.iter().skip(rest)).cloned().collect());
    }

    fn record_tree(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: String| prefix.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.record_tree(&with(path.ident.to_string()), &path.tree),
            UseTree::Name(name) => self.record(&with(name.ident.to_string())),
            UseTree::Rename(rename) => self.record(&with(rename.ident.to_string())),
            UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.record_tree(prefix, item));
            }
            UseTree::Glob(_) => self.record(prefix),
        }
    }
}

impl<'ast> Visit<'ast> for References {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        // `super` inside of it is this file.
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.record_tree(&[], &item.tree);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let segments: Vec<_> =
                path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.record(&segments);
        }
        visit::visit_path(self, path);
    }
}

/// The rows of the table under this heading of `docs/architecture.md`: the names in backticks of the first two columns.
fn table(first_column: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let page = fs::read_to_string(page).unwrap_or_default();
    let rows =
        page.lines().skip_while(|line| !line.starts_with(&format!("| {first_column} |"))).skip(2);
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let rows: Vec<_> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').skip(1))
        .map(|mut cells| {
            (names(cells.next().unwrap_or_default()), names(cells.next().unwrap_or_default()))
        })
        .collect();
    assert!(!rows.is_empty(), "docs/architecture.md has no table with the column {first_column}");
    rows
}

#[test]
fn module_uses_only_modules_below_it() {
    let order: Vec<_> = table("module").into_iter().map(|(names, _)| names).collect();
    let exceptions = table("exception");
    let rank = |module: &Module| {
        order.iter().position(|names| names.iter().any(|name| module.first() == Some(name)))
    };
    let excepted = |module: &Module, used: &Module| {
        exceptions.iter().any(|(from, to)| {
            from.iter().any(|name| module.join("::").starts_with(name.as_str()))
                && to.iter().any(|name| used.join("::").starts_with(name.as_str()))
        })
    };
    let code = Code::read();
    let faults: Vec<_> = code
        .uses()
        .filter(|(module, _)| !module.is_empty())
        .filter(|(module, used)| module.first() != used.first() && !excepted(module, used))
        .filter(|(module, used)| !matches!((rank(module), rank(used)), (Some(upper), Some(lower)) if upper <= lower))
        .map(|(module, used)| format!("{} uses {}", module.join("::"), used.join("::")))
        .collect();
    assert!(faults.is_empty(), "docs/architecture.md does not allow these:\n{}", faults.join("\n"));
}

#[test]
fn crate_is_named_only_in_modules_listed_for_it() {
    let code = Code::read();
    for (crates, modules) in table("crate") {
        for name in crates {
            let path = vec![format!("extern {name}")];
            let users = code
                .0
                .iter()
                .filter(|(_, found)| found.contains(&path))
                .map(|(module, _)| module.join("::"));
            let faults: Vec<_> = users
                .filter(|user| {
                    !modules
                        .iter()
                        .any(|module| user == module || user.starts_with(&format!("{module}::")))
                })
                .collect();
            assert!(
                faults.is_empty(),
                "docs/architecture.md does not allow {name} in {}",
                faults.join(", ")
            );
        }
    }
}

type Uses<'a> = BTreeMap<&'a Module, Vec<&'a Module>>;

fn reaches<'a>(uses: &Uses<'a>, from: &'a Module, to: &Module) -> bool {
    let (mut seen, mut pending) = (BTreeSet::new(), vec![from]);
    while let Some(module) = pending.pop() {
        if seen.insert(module) {
            pending.extend(uses.get(module).into_iter().flatten());
        }
    }
    seen.contains(to)
}

#[test]
fn files_form_no_cycle() {
    let code = Code::read();
    let mut uses = Uses::new();
    for (module, used) in code.uses() {
        uses.entry(module).or_default().push(used);
    }
    let cycles: Vec<_> = code
        .uses()
        .filter(|(module, used)| reaches(&uses, used, module))
        .map(|(module, used)| format!("{} uses {}", module.join("::"), used.join("::")))
        .collect();
    assert!(cycles.is_empty(), "these files use each other in a circle:\n{}", cycles.join("\n"));
}
