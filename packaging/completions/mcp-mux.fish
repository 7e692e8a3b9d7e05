complete -c mcp-mux -l spawn -d 'The server\'s command in one string, split like a shell does' -r
complete -c mcp-mux -l cwd -d 'The server\'s working directory' -r -F
complete -c mcp-mux -l env -d 'A variable for the server\'s environment (repeatable)' -r
complete -c mcp-mux -l clean-env -d 'Do not pass mcp-mux\'s environment on to the server' -r
complete -c mcp-mux -l client-capabilities -d 'Client capabilities declared to the server: roots, sampling, elicitation, or none [default: roots,sampling,elicitation]' -r
complete -c mcp-mux -l start-timeout -d 'How long the server may take to start [default: 60s]' -r
complete -c mcp-mux -l child-era -d 'Which revisions the server speaks: auto, legacy, modern [default: auto]' -r
complete -c mcp-mux -l probe-timeout -d 'How long to wait for the answer of a server that is asked which revisions it speaks [default: 5s]' -r
complete -c mcp-mux -l stop-timeout -d 'How long the server may take to exit [default: 5s]' -r
complete -c mcp-mux -l on-child-exit -d 'What to do when the server exits by itself: restart, exit [default: restart]' -r
complete -c mcp-mux -l ping-interval -d 'Ask the server this often whether it still answers [default: none]' -r
complete -c mcp-mux -l line-bytes-max -d 'The longest line taken from the server [default: 16MiB]' -r
complete -c mcp-mux -l stderr-lines-max -d 'The most lines of the server\'s stderr that are logged in a second; 0 logs none [default: 1000]' -r
complete -c mcp-mux -l isolation -d 'Who shares a server process: shared, principal, session [default: shared]' -r
complete -c mcp-mux -l pool -d 'How many processes to share [default: 1]' -r
complete -c mcp-mux -l warm -d 'How many processes to start ahead of the sessions that will take them [default: 0]' -r
complete -c mcp-mux -l children-max -d 'The most processes at once [default: 100]' -r
complete -c mcp-mux -l child-idle-timeout -d 'Stop a process that nobody has used for this long [default: 5m with --isolation principal, else none]' -r
complete -c mcp-mux -l child-max-age -d 'Replace a process that is older than this [default: none]' -r
complete -c mcp-mux -l child-max-requests -d 'Replace a process that was given this many requests [default: none]' -r
complete -c mcp-mux -l header-env -d 'Put a header of a session\'s first request into the environment of its process (repeatable)' -r
complete -c mcp-mux -l host -d 'The address or host name to listen on [default: 127.0.0.1]' -r
complete -c mcp-mux -l port -d 'The port to listen on; 0 lets the system choose [default: 8000]' -r
complete -c mcp-mux -l path -d 'The path of Streamable HTTP [default: /mcp]' -r
complete -c mcp-mux -l sse-path -d 'The path of the event stream of HTTP+SSE [default: /sse]' -r
complete -c mcp-mux -l message-path -d 'The path that HTTP+SSE clients post to [default: /messages]' -r
complete -c mcp-mux -l allow-host -d 'A host name that clients may use for this server (repeatable)' -r
complete -c mcp-mux -l allow-origin -d 'A web origin whose pages may use this server (repeatable)' -r
complete -c mcp-mux -l public-url -d 'The URL at which clients reach this server' -r
complete -c mcp-mux -l trusted-proxy -d 'A proxy in front that is believed (repeatable)' -r
complete -c mcp-mux -l forwarded-header -d 'In which header trusted proxies speak: x-forwarded, forwarded [default: x-forwarded]' -r
complete -c mcp-mux -l auth-token-file -d 'A file of tokens with which clients may enter' -r -F
complete -c mcp-mux -l insecure-no-auth -d 'Let everybody enter who can reach this port, also from other machines' -r
complete -c mcp-mux -l connections-max -d 'The most connections at once [default: 20000]' -r
complete -c mcp-mux -l jwt-issuer -d 'Accept JSON Web Tokens of this issuer' -r
complete -c mcp-mux -l jwt-audience -d 'A name of this server in the tokens\' `aud` (repeatable)' -r
complete -c mcp-mux -l jwks-url -d 'Where the issuer\'s keys are, as a JWK set' -r
complete -c mcp-mux -l jwks-file -d 'A file with the issuer\'s keys, as a JWK set' -r -F
complete -c mcp-mux -l jwt-algorithm -d 'How a token may be signed [default: RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA]' -r
complete -c mcp-mux -l jwt-scope -d 'A scope that every token must have (repeatable)' -r
complete -c mcp-mux -l jwt-leeway -d 'By how much the issuer\'s clock may differ [default: 30s]' -r
complete -c mcp-mux -l jwt-principal-claim -d 'The claim that says what a token\'s owner may do [default: mcp_mux]' -r
complete -c mcp-mux -l jwt-claim-env -d 'A variable that this claim may set (repeatable)' -r
complete -c mcp-mux -l tls-cert -d 'Speak TLS (HTTPS) with the certificate in this file' -r -F
complete -c mcp-mux -l tls-key -d 'The private key of --tls-cert' -r -F
complete -c mcp-mux -l tls-client-ca -d 'Ask clients for certificates that were issued by an authority in this file' -r -F
complete -c mcp-mux -l tls-client-auth -d 'Whether clients must have a certificate: required, optional [default: required]' -r
complete -c mcp-mux -l connections-per-address-max -d 'The most connections of one address at once [default: 1000]' -r
complete -c mcp-mux -l first-byte-timeout -d 'How long a new connection may send nothing [default: 30s]' -r
complete -c mcp-mux -l header-timeout -d 'How long the head of a request may take to arrive [default: 30s]' -r
complete -c mcp-mux -l idle-timeout -d 'How long a connection may go without a request [default: 2m]' -r
complete -c mcp-mux -l untaken-timeout -d 'How long a client may take nothing of what is there for it [default: 1m]' -r
complete -c mcp-mux -l header-bytes-max -d 'The largest head of a request: its line and headers [default: 64KiB]' -r
complete -c mcp-mux -l headers-max -d 'The most headers of a request [default: 100]' -r
complete -c mcp-mux -l http2-streams-max -d 'The most requests at once on one HTTP/2 connection [default: 128]' -r
complete -c mcp-mux -l http2-resets-max -d 'The most requests of one HTTP/2 connection that may be cancelled before they were looked at [default: 200]' -r
complete -c mcp-mux -l http2-frames-max -d 'The most frames of one HTTP/2 connection that carry neither a request nor any of its body [default: 10000]' -r
complete -c mcp-mux -l session-idle-timeout -d 'Close a session without a request or an open stream for this long [default: 30m]' -r
complete -c mcp-mux -l session-max-age -d 'Close a session this long after it was opened [default: none]' -r
complete -c mcp-mux -l sessions-max -d 'The most sessions at once [default: 10000]' -r
complete -c mcp-mux -l stateless -d 'Serve Streamable HTTP without sessions' -r
complete -c mcp-mux -l replay-events -d 'The most events kept for replay in one session [default: 256]' -r
complete -c mcp-mux -l replay-bytes -d 'The most bytes of events kept for replay in one session [default: 1MiB]' -r
complete -c mcp-mux -l streams-max -d 'The most GET streams of one session at once [default: 16]' -r
complete -c mcp-mux -l messages-waiting-max -d 'The most notifications and responses of one session that wait for room in the server\'s input [default: 64]' -r
complete -c mcp-mux -l unread-messages-max -d 'The most messages on one stream that a connected client may leave unread [default: 4096]' -r
complete -c mcp-mux -l unread-bytes-max -d 'The most bytes of messages on one stream that a connected client may leave unread [default: 8MiB]' -r
complete -c mcp-mux -l unread-total-bytes-max -d 'The most bytes of messages and answers that all clients together may leave unread [default: 512MiB]' -r
complete -c mcp-mux -l parked-max -d 'The most modern requests that wait for their clients to come back with answers [default: half of --sessions-max]' -r
complete -c mcp-mux -l parked-bytes-max -d 'The most bytes of requests that wait for their clients to come back [default: 64MiB]' -r
complete -c mcp-mux -l request-timeout -d 'How long a request may go without an answer or progress [default: none]' -r
complete -c mcp-mux -l request-timeout-max -d 'How long a request may go on, whatever its progress [default: none]' -r
complete -c mcp-mux -l input-timeout -d 'How long a client of 2026-07-28 may take to come back with what a server before it asked [default: 2m]' -r
complete -c mcp-mux -l in-flight-max -d 'The most requests in flight in one session [default: 128]' -r
complete -c mcp-mux -l on-ambiguous -d 'What to do with a question of the server that could be for several clients: reject, serialize [default: reject]' -r
complete -c mcp-mux -l body-bytes-max -d 'The largest request body [default: 16MiB]' -r
complete -c mcp-mux -l body-timeout -d 'How long a request body may take to arrive [default: 30s]' -r
complete -c mcp-mux -l queue-bytes-max -d 'The most bytes waiting for the server [default: 64MiB]' -r
complete -c mcp-mux -l queue-timeout -d 'How long a request waits for room or for a restarting server [default: 60s]' -r
complete -c mcp-mux -l nesting-max -d 'The deepest nesting of a client\'s JSON [default: 128]' -r
complete -c mcp-mux -l batch-max -d 'The most messages of a client\'s batch; 0 takes no batches [default: 1024]' -r
complete -c mcp-mux -l subscriptions-max -d 'The most resources that one session may be subscribed to; 0 admits no subscription [default: 4096]' -r
complete -c mcp-mux -l questions-max -d 'The most questions of the server that one client may have open; 0 asks clients nothing [default: 256]' -r
complete -c mcp-mux -l resend-bytes-max -d 'The most bytes of requests kept to be sent again with their clients\' answers; 0 keeps none [default: 64MiB]' -r
complete -c mcp-mux -l tasks-max -d 'The most tasks of which is remembered whose they are [default: 16384]' -r
complete -c mcp-mux -l cache-bytes -d 'The most bytes of results kept to be served again; 0 keeps none [default: 16MiB]' -r
complete -c mcp-mux -l sse-after -d 'Turn a POST without an answer into an event stream after this long [default: 1s]' -r
complete -c mcp-mux -l keep-alive -d 'The time between two keep-alive comments on an event stream [default: 15s]' -r
complete -c mcp-mux -l rate -d 'The requests that each principal may make: 10 or 10/s, 600/m, 36000/h, or none [default: none]' -r
complete -c mcp-mux -l rate-burst -d 'How many requests a principal may make at once, after a pause [default: those of one second, and at least 1]' -r
complete -c mcp-mux -l principal-sessions-max -d 'The most sessions of one principal at once [default: none]' -r
complete -c mcp-mux -l principal-in-flight-max -d 'The most requests in flight of one principal, in all its sessions [default: none]' -r
complete -c mcp-mux -l config -d 'A file with the configuration, TOML or JSON' -r -F
complete -c mcp-mux -l log-level -d 'How much to log: off, error, warn, info, debug, trace, or a filter [default: info]' -r
complete -c mcp-mux -l log-format -d 'How a log line looks: text, json [default: text]' -r
complete -c mcp-mux -l drain-timeout -d 'How long requests in flight may go on after SIGINT or SIGTERM [default: 10s]' -r
complete -c mcp-mux -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcp-mux -s V -l version -d 'Print version'
