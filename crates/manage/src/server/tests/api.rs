//! What requests do.

use super::*;

#[test]
fn a_vm_is_made_shown_started_stopped_and_removed() {
    let live = Live::new();
    let (code, made) = live.post("/vms", &json!({"Name": "lab", "MemoryStartupBytes": "512MB"}));
    assert_eq!((code, &made["results"][0]["State"]), (201, &json!("Off")));
    let state = || live.read("/vms/lab").1["results"][0]["State"].clone();
    assert_eq!(live.post("/vms/lab/start", &json!({})).0, 200);
    assert_eq!(state(), "Running");
    assert_eq!(live.post("/vms/lab/stop", &json!({})).0, 200);
    assert_eq!(state(), "Off");
    assert_eq!(live.delete("/vms/lab?Force=true").0, 200);
    assert_eq!(live.read("/vms").1["results"], json!([]));
}

#[test]
fn a_new_vm_has_its_place_in_the_answer() {
    let live = Live::new();
    let text = live.request("POST", "/vms", "Content-Type: application/json\r\n", b"{}");
    let place = text.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
    assert_eq!(live.read(place).0, 200);
}

#[test]
fn a_record_is_as_on_the_command_line() {
    let live = Live::with(&["vm"]);
    let host = {
        let mut host = Host::new(live.store(), Box::new(ThreadLauncher));
        host.system = Box::new(Here);
        host
    };
    let vm = host.vm(host.configs().unwrap().remove(0));
    let mut record = serde_json::to_value(crate::ops::records::vm(&vm, &Here.host())).unwrap();
    let mut answered = live.read("/vms").1["results"][0].clone();
    // The time since it was made goes on.
    for one in [&mut record, &mut answered] {
        one.as_object_mut().unwrap().remove("Uptime");
    }
    assert_eq!(answered, record);
}

#[test]
fn properties_keep_their_order() {
    let text = Live::with(&["vm"]).request("GET", "/vms/vm/processor", "", b"");
    assert!(text.find("ResourcePoolName").unwrap() < text.find("\"Count\"").unwrap());
}

#[test]
fn a_vm_that_is_not_there_is_404_with_the_cmdlets_error() {
    let (code, problem) = Live::new().read("/vms/no");
    assert_eq!((code, &problem["status"], &problem["target"]), (404, &json!(404), &json!("no")));
    assert_eq!(problem["id"], "InvalidParameter,Microsoft.HyperV.PowerShell.Commands.GetVM");
    assert_eq!(problem["category"], "InvalidArgument");
}

#[test]
fn a_problem_says_that_it_is_one() {
    let text = Live::new().request("GET", "/vms/no", "", b"");
    assert!(text.contains("content-type: application/problem+json"));
}

#[test]
fn what_the_state_forbids_is_a_conflict_with_the_remedy() {
    let live = Live::with(&["vm"]);
    live.post("/vms/vm/start", &json!({}));
    let (code, problem) = live.delete("/vms/vm?Force=true");
    assert_eq!(code, 409);
    assert!(problem["detail"].as_str().unwrap().contains("Stop-VM"));
}

#[test]
fn what_would_ask_is_refused_until_it_is_confirmed() {
    let live = Live::with(&["vm"]);
    let (code, problem) = live.delete("/vms/vm");
    assert_eq!((code, &problem["id"]), (409, &json!("ConfirmationRequired")));
    assert_eq!(live.read("/vms/vm").0, 200);
    assert_eq!(live.delete("/vms/vm?Confirm=false").0, 200);
    assert_eq!(live.read("/vms/vm").0, 404);
}

#[test]
fn what_if_says_it_and_does_nothing() {
    let live = Live::with(&["vm"]);
    let (code, answer) = live.delete("/vms/vm?WhatIf=true");
    assert_eq!((code, live.read("/vms/vm").0), (200, 200));
    assert!(answer["messages"][0].as_str().unwrap().starts_with("What if: "));
}

#[test]
fn warnings_come_along() {
    let live = Live::with(&["vm"]);
    live.post("/vms/vm/start", &json!({}));
    assert_eq!(live.post("/vms/vm/start", &json!({})).1["warnings"], json!([crate::state::ALREADY]));
}

#[test]
fn what_failed_of_several_is_told_with_what_was_done() {
    let live = Live::with(&["a", "b"]);
    live.post("/vms/a/start", &json!({}));
    let (code, answer) = live.delete("/vms/*?Force=true");
    assert_eq!(code, 409);
    assert_eq!(
        (answer["errors"].as_array().unwrap().len(), &answer["results"][0]["VMName"]),
        (1, &json!("b"))
    );
}

#[test]
fn an_unknown_parameter_is_refused_by_name() {
    let (code, problem) = Live::new().post("/vms", &json!({"Nme": "x"}));
    assert_eq!(code, 400);
    assert!(problem["detail"].as_str().unwrap().contains("'Nme'"));
}

#[test]
fn a_parameter_of_another_spelling_is_told_its_own() {
    let (_, problem) = Live::new().post("/vms", &json!({"vmname": "x"}));
    assert!(problem["detail"].as_str().unwrap().ends_with("It is written Name."));
}

#[test]
fn the_wrong_type_is_refused_with_the_parameter() {
    let live = Live::with(&["vm"]);
    for body in [json!({"ProcessorCount": "2"}), json!({"Notes": 5}), json!({"StaticMemory": "true"})] {
        let (code, problem) = live.patch("/vms/vm", &body);
        let name = body.as_object().unwrap().keys().next().unwrap();
        assert!(code == 400 && problem["detail"].as_str().unwrap().contains(name), "{problem}");
    }
}

#[test]
fn a_relative_path_means_nothing_to_a_server() {
    let live = Live::with(&["vm"]);
    assert!(
        live.patch("/vms/vm", &json!({"Kernel": "vmlinuz"})).1["detail"]
            .as_str()
            .unwrap()
            .contains("absolute")
    );
}

#[test]
fn parameters_of_different_sets_exclude_each_other() {
    let body = json!({"Name": "vm", "NoVHD": true, "VHDPath": "/x.raw"});
    assert_eq!(Live::new().post("/vms", &body).0, 400);
}

#[test]
fn broken_json_is_one_sentence() {
    let live = Live::new();
    let answer = live.request("POST", "/vms", "Content-Type: application/json\r\n", b"{\"Name\":");
    let (code, problem) = parse(&answer);
    let detail = problem["detail"].as_str().unwrap();
    assert!(code == 400 && detail.starts_with("The body is no JSON") && detail.lines().count() == 1);
}

#[test]
fn json_that_is_no_object_is_refused() {
    for body in [json!([]), json!(5), json!("x"), Json::Null] {
        assert_eq!(Live::new().post("/vms", &body).0, 400, "{body}");
    }
}

#[test]
fn deep_json_is_refused_and_not_followed() {
    let deep = format!("{{\"Name\": {}", "[".repeat(200_000));
    let answer = Live::new().request("POST", "/vms", "Content-Type: application/json\r\n", deep.as_bytes());
    assert_eq!(status(&answer), 400);
}

#[test]
fn a_body_that_says_it_is_no_json_is_refused() {
    let answer = Live::new().request("POST", "/vms", "Content-Type: text/plain\r\n", b"{}");
    assert_eq!(status(&answer), 415);
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let large = vec![b' '; super::super::answer::MOST_BYTES + 1];
    let answer = Live::new().request("POST", "/vms", "Content-Type: application/json\r\n", &large);
    assert_eq!(status(&answer), 413);
}

#[test]
fn another_method_is_told_which_there_are() {
    let answer = Live::new().request("PUT", "/vms", "", b"");
    assert_eq!(status(&answer), 405);
    assert!(answer.contains("allow: GET, POST"));
}

#[test]
fn an_unknown_path_is_told_where_the_known_ones_are() {
    let (code, problem) = Live::new().read("/nothing");
    assert_eq!(code, 404);
    assert!(problem["detail"].as_str().unwrap().contains("/openapi.json"));
}

#[test]
fn nonsense_ends_only_its_connection() {
    let live = Live::new();
    for nonsense in
        [&b"\x16\x03\x01\x02\0\x01\0"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0\0\0\0\r\n\r\n"]
    {
        live.raw(nonsense);
    }
    assert_eq!(live.read("/host").0, 200);
}

#[test]
fn settings_too_large_for_the_store_are_refused_and_the_vm_stays_readable() {
    let live = Live::with(&["vm"]);
    let long = "x".repeat(600_000);
    assert_eq!(live.patch("/vms/vm", &json!({"Notes": long})).0, 200);
    assert_eq!(live.patch("/vms/vm", &json!({"CommandLine": long})).0, 400);
    assert_eq!(live.read("/vms/vm").0, 200);
}

#[test]
fn of_requests_at_once_each_gets_its_own_answer() {
    let live = Live::new();
    std::thread::scope(|scope| {
        for number in 0..16 {
            let live = &live;
            scope.spawn(move || {
                let name = format!("vm{number}");
                assert_eq!(live.post("/vms", &json!({"Name": name})).1["results"][0]["VMName"], json!(name));
            });
        }
    });
    assert_eq!(live.read("/vms").1["results"].as_array().unwrap().len(), 16);
}

#[test]
fn a_connection_serves_request_after_request() {
    let live = Live::new();
    let two =
        b"GET /host HTTP/1.1\r\nHost: x\r\n\r\nGET /vms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(live.raw(two).matches("HTTP/1.1 200 OK").count(), 2);
}

#[test]
fn a_name_that_reads_backwards_is_refused_wherever_one_is_given() {
    let live = Live::with(&["vm"]);
    let name = "a\u{202e}b";
    let answers = [
        live.post("/vms", &json!({"Name": name})),
        live.post("/vms/vm/rename", &json!({"NewName": name})),
        live.post("/switches", &json!({"Name": name, "SwitchType": "Private"})),
    ];
    for (code, answer) in answers {
        let detail = answer["detail"].as_str().unwrap_or_default();
        assert!(code == 400 && detail.contains("U+202E"), "{code} {answer}");
    }
}
