//! What `mayfly init` writes: one small function for each runtime and contract, kept in `templates/`.

use types::{Contract, FunctionName, Runtime};

/// Stands for the function's name in a template's text.
const NAME: &str = "{{name}}";

#[derive(Debug)]
pub struct Template {
    pub runtime: Runtime,
    pub contract: Contract,
    /// What must be installed beyond the runtime itself.
    pub needs: Option<&'static str>,
    own: &'static [File],
}

#[derive(Debug)]
pub struct File {
    pub path: &'static str,
    text: &'static str,
    pub executable: bool,
}

impl Template {
    pub fn files(&self) -> impl Iterator<Item = &'static File> {
        self.own.iter()
    }
}

impl File {
    pub fn text(&self, name: &FunctionName) -> String {
        self.text.replace(NAME, name.as_str())
    }
}

/// The contract that `mayfly init` takes where none is named.
pub const fn usual_contract(runtime: Runtime) -> Contract {
    match runtime {
        Runtime::Nodejs | Runtime::Python | Runtime::Java | Runtime::Go | Runtime::Rust => Contract::Handler,
        Runtime::Binary => Contract::Command,
        Runtime::Wasm => Contract::Component,
    }
}

pub fn find(runtime: Runtime, contract: Contract) -> Option<&'static Template> {
    ALL.iter().find(|template| template.runtime == runtime && template.contract == contract)
}

/// `files!("folder": "file in it" => "name it gets", …)`
macro_rules! files {
    ($folder:literal: $($source:literal => $path:literal $($executable:ident)?),* $(,)?) => {
        &[$(File {
            path: $path,
            text: include_str!(concat!("../../templates/", $folder, "/", $source)),
            executable: files!(@ $($executable)?),
        }),*]
    };
    (@ executable) => { true };
    (@) => { false };
}

pub const ALL: &[Template] = &[
    Template {
        runtime: Runtime::Nodejs,
        contract: Contract::Handler,
        needs: None,
        own: files!("nodejs-handler":
            "mayfly.toml" => "mayfly.toml", "index.js" => "index.js", "gitignore" => ".gitignore"),
    },
    Template {
        runtime: Runtime::Nodejs,
        contract: Contract::Http,
        needs: None,
        own: files!("nodejs-http":
            "mayfly.toml" => "mayfly.toml", "server.js" => "server.js", "gitignore" => ".gitignore"),
    },
    Template {
        runtime: Runtime::Python,
        contract: Contract::Handler,
        needs: None,
        own: files!("python-handler":
            "mayfly.toml" => "mayfly.toml", "app.py" => "app.py", "gitignore" => ".gitignore"),
    },
    Template {
        runtime: Runtime::Python,
        contract: Contract::Http,
        needs: None,
        own: files!("python-http":
            "mayfly.toml" => "mayfly.toml", "server.py" => "server.py", "gitignore" => ".gitignore"),
    },
    Template {
        runtime: Runtime::Go,
        contract: Contract::Handler,
        needs: None,
        own: files!("go-handler":
            "mayfly.toml" => "mayfly.toml", "main.go" => "main.go", "go.mod.in" => "go.mod", "go.sum.in" => "go.sum",
            "gitignore" => ".gitignore"),
    },
    Template {
        runtime: Runtime::Rust,
        contract: Contract::Handler,
        needs: None,
        own: files!("rust-handler":
            "mayfly.toml" => "mayfly.toml", "main.rs" => "src/main.rs", "Cargo.toml.in" => "Cargo.toml",
            "gitignore" => ".gitignore"),
    },
    Template {
        runtime: Runtime::Java,
        contract: Contract::Handler,
        needs: Some("Maven"),
        own: files!("java-handler":
            "mayfly.toml" => "mayfly.toml", "Handler.java" => "src/main/java/example/Handler.java",
            "pom.xml" => "pom.xml", "gitignore" => ".gitignore"),
    },
    Template {
        runtime: Runtime::Binary,
        contract: Contract::Command,
        needs: None,
        own: files!("binary-command":
            "mayfly.toml" => "mayfly.toml", "hello.sh" => "hello.sh" executable, "gitignore" => ".gitignore"),
    },
    Template {
        runtime: Runtime::Wasm,
        contract: Contract::Component,
        needs: Some("Rust's target wasm32-wasip2 (rustup target add wasm32-wasip2)"),
        own: files!("wasm-component":
            "mayfly.toml" => "mayfly.toml", "lib.rs" => "src/lib.rs", "Cargo.toml.in" => "Cargo.toml",
            "gitignore" => ".gitignore"),
    },
];
