//! Looks for libuv, which is a contender where the system has it.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(has_libuv)");
    match pkg_config::Config::new().atleast_version("1.40").probe("libuv") {
        Ok(library) => {
            println!("cargo::rustc-cfg=has_libuv");
            println!("cargo::rustc-env=LIBUV_VERSION={}", library.version);
        }
        Err(_) => println!("cargo::warning=libuv is left out: it is not installed (Debian: libuv1-dev, pkg-config)"),
    }
}
