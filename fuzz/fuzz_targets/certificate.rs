#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mcp_mux_fuzz::run("certificate", data));
