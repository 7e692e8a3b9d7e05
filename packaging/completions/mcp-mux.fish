# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mcp_mux_global_optspecs
    string join \n spawn= cwd= env= clean-env= client-capabilities= start-timeout= child-era= probe-timeout= stop-timeout= on-child-exit= ping-interval= line-bytes-max= stderr-lines-max= lazy= server-idle-timeout= isolation= pool= warm= children-max= child-idle-timeout= child-max-age= child-max-requests= header-env= host= port= listen= admin= unix-mode= unix-owner= path= sse-path= message-path= allow-host= allow-origin= public-url= trusted-proxy= forwarded-header= auth-token-file= insecure-no-auth= connections-max= jwt-issuer= jwt-audience= jwks-url= jwks-file= jwt-algorithm= jwt-scope= jwt-leeway= jwt-principal-claim= jwt-claim-env= tls-cert= tls-key= tls-client-ca= tls-client-auth= connections-per-address-max= first-byte-timeout= header-timeout= idle-timeout= untaken-timeout= header-bytes-max= headers-max= http2-streams-max= http2-resets-max= http2-frames-max= session-idle-timeout= session-max-age= sessions-max= stateless= replay-events= replay-bytes= streams-max= messages-waiting-max= unread-messages-max= unread-bytes-max= unread-total-bytes-max= parked-max= parked-bytes-max= request-timeout= request-timeout-max= input-timeout= in-flight-max= on-ambiguous= body-bytes-max= body-timeout= queue-bytes-max= queue-timeout= nesting-max= batch-max= subscriptions-max= questions-max= resend-bytes-max= tasks-max= cache-bytes= sse-after= keep-alive= rate= rate-burst= principal-sessions-max= principal-in-flight-max= config= log-level= log-format= watch= starts-max= access-log= access-log-names= otlp-endpoint= drain-timeout= h/help V/version
end

function __fish_mcp_mux_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_mcp_mux_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_mcp_mux_using_subcommand
    set -l cmd (__fish_mcp_mux_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l spawn -d 'The server\'s command line, split as a shell does it' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l cwd -d 'The server\'s working directory' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l env -d 'A variable of the server\'s (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l clean-env -d 'Do not pass mcp-mux\'s environment on to the server' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l client-capabilities -d 'Client capabilities declared to the server: roots, sampling, elicitation, or none [default: roots,sampling,elicitation]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l start-timeout -d 'How long the server may take to start [default: 60s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l child-era -d 'Which revisions the server speaks: auto, legacy, modern [default: auto]' -r -f -a "auto\t''
legacy\t''
modern\t''"
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l probe-timeout -d 'How long to wait for the answer of a server that is asked which revisions it speaks [default: 5s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l stop-timeout -d 'How long the server may take to exit [default: 5s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l on-child-exit -d 'What to do when the server exits by itself: restart, exit [default: restart]' -r -f -a "restart\t''
exit\t''"
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l ping-interval -d 'Ask the server this often whether it still answers [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l line-bytes-max -d 'The longest line taken from the server [default: 16MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l stderr-lines-max -d 'The most lines of the server\'s stderr that are logged in a second; 0 logs none [default: 1000]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l lazy -d 'Start the server when somebody comes' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l server-idle-timeout -d 'Stop the server when nobody has used it for this long [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l isolation -d 'Who shares a server process: shared, principal, session [default: shared]' -r -f -a "shared\t''
principal\t''
session\t''"
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l pool -d 'How many processes to share [default: 1]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l warm -d 'How many processes to start ahead of the sessions that will take them [default: 0]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l children-max -d 'The most processes at once [default: 100]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l child-idle-timeout -d 'Stop a process that nobody has used for this long [default: 5m with --isolation principal, else none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l child-max-age -d 'Replace a process that is older than this [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l child-max-requests -d 'Replace a process that was given this many requests [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l header-env -d 'Put a header of a session\'s first request into the environment of its process (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l host -d 'The address to listen on [default: 127.0.0.1]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l port -d 'The port to listen on [default: 8000]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l listen -d 'What to listen on, instead of --host and --port (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l admin -d 'Where operators find the status page and the metrics, apart from the clients (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l unix-mode -d 'Who may connect to the unix sockets: the mode of their files [default: 600]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l unix-owner -d 'Whose the files of the unix sockets are: a user, user:group or :group' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l path -d 'The path of Streamable HTTP [default: /mcp]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l sse-path -d 'The path of the event stream of HTTP+SSE [default: /sse]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l message-path -d 'The path that HTTP+SSE clients post to [default: /messages]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l allow-host -d 'A host name that clients may use (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l allow-origin -d 'A web origin whose pages may use this server (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l public-url -d 'The URL at which clients reach this server' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l trusted-proxy -d 'A proxy in front that is believed (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l forwarded-header -d 'In which header trusted proxies speak: x-forwarded, forwarded [default: x-forwarded]' -r -f -a "x-forwarded\t''
forwarded\t''"
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l auth-token-file -d 'A file of tokens with which clients may enter' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l insecure-no-auth -d 'Let everybody enter who can reach this port, also from other machines' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l connections-max -d 'The most connections at once [default: 20000]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l jwt-issuer -d 'Accept JSON Web Tokens of this issuer' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l jwt-audience -d 'A name of this server in the tokens\' `aud` (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l jwks-url -d 'Where the issuer\'s keys are, as a JWK set' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l jwks-file -d 'A file with the issuer\'s keys, as a JWK set' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l jwt-algorithm -d 'How a token may be signed [default: RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l jwt-scope -d 'A scope that every token must have (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l jwt-leeway -d 'By how much the issuer\'s clock may differ [default: 30s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l jwt-principal-claim -d 'The claim that says what a token\'s owner may do [default: mcp_mux]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l jwt-claim-env -d 'A variable that this claim may set (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l tls-cert -d 'Speak TLS (HTTPS) with the certificate in this file' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l tls-key -d 'The private key of --tls-cert' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l tls-client-ca -d 'Ask clients for certificates that were issued by an authority in this file' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l tls-client-auth -d 'Whether clients must have a certificate: required, optional [default: required]' -r -f -a "required\t''
optional\t''"
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l connections-per-address-max -d 'The most connections of one address at once [default: 1000]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l first-byte-timeout -d 'How long a new connection may send nothing [default: 30s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l header-timeout -d 'How long the head of a request may take to arrive [default: 30s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l idle-timeout -d 'How long a connection may go without a request [default: 2m]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l untaken-timeout -d 'How long a client may take nothing of what is there for it [default: 1m]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l header-bytes-max -d 'The largest head of a request: its line and headers [default: 64KiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l headers-max -d 'The most headers of a request [default: 100]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l http2-streams-max -d 'The most requests at once on one HTTP/2 connection [default: 128]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l http2-resets-max -d 'The most requests of one HTTP/2 connection that may be cancelled before they were looked at [default: 200]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l http2-frames-max -d 'The most frames of one HTTP/2 connection that carry neither a request nor any of its body [default: 10000]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l session-idle-timeout -d 'Close a session without a request or an open stream for this long [default: 30m]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l session-max-age -d 'Close a session this long after it was opened [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l sessions-max -d 'The most sessions at once [default: 10000]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l stateless -d 'Serve Streamable HTTP without sessions' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l replay-events -d 'The most events kept for replay in one session [default: 256]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l replay-bytes -d 'The most bytes of events kept for replay in one session [default: 1MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l streams-max -d 'The most GET streams of one session at once [default: 16]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l messages-waiting-max -d 'The most notifications and responses of one session that wait for room in the server\'s input [default: 64]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l unread-messages-max -d 'The most messages on one stream that a connected client may leave unread [default: 4096, or --replay-events]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l unread-bytes-max -d 'The most bytes of messages on one stream that a connected client may leave unread [default: 8MiB, or --replay-bytes]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l unread-total-bytes-max -d 'The most bytes of messages and answers that all clients may leave unread [default: 512MiB, or more]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l parked-max -d 'The most modern requests that wait for their clients to come back with answers [default: half of --sessions-max]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l parked-bytes-max -d 'The most bytes of requests that wait for their clients to come back [default: 64MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l request-timeout -d 'How long a request may go without an answer or progress [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l request-timeout-max -d 'How long a request may go on, whatever its progress [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l input-timeout -d 'How long a client of 2026-07-28 may take to come back with what a server before it asked [default: 2m]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l in-flight-max -d 'The most requests in flight in one session [default: 128]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l on-ambiguous -d 'What to do with a question of the server that could be for several clients: reject, serialize [default: reject]' -r -f -a "reject\t''
serialize\t''"
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l body-bytes-max -d 'The largest request body [default: 16MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l body-timeout -d 'How long a request body may take to arrive [default: 30s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l queue-bytes-max -d 'The most bytes waiting for the server [default: 64MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l queue-timeout -d 'How long a request waits for room or for a restarting server [default: 60s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l nesting-max -d 'The deepest nesting of a client\'s JSON [default: 128]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l batch-max -d 'The most messages of a client\'s batch; 0 takes no batches [default: 1024]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l subscriptions-max -d 'The most resources that one session may be subscribed to; 0 admits no subscription [default: 4096]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l questions-max -d 'The most questions of the server that one client may have open; 0 asks clients nothing [default: 256]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l resend-bytes-max -d 'The most bytes of requests kept to be sent again with their clients\' answers; 0 keeps none [default: 64MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l tasks-max -d 'The most tasks of which is remembered whose they are [default: 16384]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l cache-bytes -d 'The most bytes of results kept to be served again; 0 keeps none [default: 16MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l sse-after -d 'Turn a POST without an answer into an event stream after this long [default: 1s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l keep-alive -d 'The time between two keep-alive comments on an event stream [default: 15s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l rate -d 'The requests that each principal may make: 10 or 10/s, 600/m, 36000/h, or none [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l rate-burst -d 'How many requests a principal may make at once, after a pause [default: those of one second, and at least 1]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l principal-sessions-max -d 'The most sessions of one principal at once [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l principal-in-flight-max -d 'The most requests in flight of one principal, in all its sessions [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l config -d 'A file with the configuration, TOML or JSON' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l log-level -d 'How much to log: off, error, warn, info, debug, trace, or a filter [default: info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l log-format -d 'How a log line looks: text, json [default: text]' -r -f -a "text\t''
json\t''"
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l watch -d 'Read the files again when they change' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l starts-max -d 'The most servers that are starting at once [default: 4]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l access-log -d 'Whether each request gets a line in the log: off, on, or a file for these lines [default: off]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l access-log-names -d 'Name the tool, prompt or resource in the access log, and in traces' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l otlp-endpoint -d 'Send traces to this OpenTelemetry collector, which takes OTLP over HTTP' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -l drain-timeout -d 'How long requests in flight may go on after SIGINT or SIGTERM [default: 10s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -s h -l help -d 'Print this, or more of it with --help'
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -s V -l version -d 'Print version'
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -a "check" -d 'Start each server once and show what it speaks'
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -a "connect" -d 'Be a stdio MCP server in front of a remote one'
complete -c mcp-mux -n "__fish_mcp_mux_needs_command" -a "completions" -d 'Print what a shell needs to complete mcp-mux\'s command line'
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l spawn -d 'The server\'s command line, split as a shell does it' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l cwd -d 'The server\'s working directory' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l env -d 'A variable of the server\'s (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l clean-env -d 'Do not pass mcp-mux\'s environment on to the server' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l client-capabilities -d 'Client capabilities declared to the server: roots, sampling, elicitation, or none [default: roots,sampling,elicitation]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l start-timeout -d 'How long the server may take to start [default: 60s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l child-era -d 'Which revisions the server speaks: auto, legacy, modern [default: auto]' -r -f -a "auto\t''
legacy\t''
modern\t''"
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l probe-timeout -d 'How long to wait for the answer of a server that is asked which revisions it speaks [default: 5s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l stop-timeout -d 'How long the server may take to exit [default: 5s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l on-child-exit -d 'What to do when the server exits by itself: restart, exit [default: restart]' -r -f -a "restart\t''
exit\t''"
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l ping-interval -d 'Ask the server this often whether it still answers [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l line-bytes-max -d 'The longest line taken from the server [default: 16MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l stderr-lines-max -d 'The most lines of the server\'s stderr that are logged in a second; 0 logs none [default: 1000]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l lazy -d 'Start the server when somebody comes' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l server-idle-timeout -d 'Stop the server when nobody has used it for this long [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l isolation -d 'Who shares a server process: shared, principal, session [default: shared]' -r -f -a "shared\t''
principal\t''
session\t''"
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l pool -d 'How many processes to share [default: 1]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l warm -d 'How many processes to start ahead of the sessions that will take them [default: 0]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l children-max -d 'The most processes at once [default: 100]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l child-idle-timeout -d 'Stop a process that nobody has used for this long [default: 5m with --isolation principal, else none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l child-max-age -d 'Replace a process that is older than this [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l child-max-requests -d 'Replace a process that was given this many requests [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l header-env -d 'Put a header of a session\'s first request into the environment of its process (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l host -d 'The address to listen on [default: 127.0.0.1]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l port -d 'The port to listen on [default: 8000]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l listen -d 'What to listen on, instead of --host and --port (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l admin -d 'Where operators find the status page and the metrics, apart from the clients (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l unix-mode -d 'Who may connect to the unix sockets: the mode of their files [default: 600]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l unix-owner -d 'Whose the files of the unix sockets are: a user, user:group or :group' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l path -d 'The path of Streamable HTTP [default: /mcp]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l sse-path -d 'The path of the event stream of HTTP+SSE [default: /sse]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l message-path -d 'The path that HTTP+SSE clients post to [default: /messages]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l allow-host -d 'A host name that clients may use (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l allow-origin -d 'A web origin whose pages may use this server (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l public-url -d 'The URL at which clients reach this server' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l trusted-proxy -d 'A proxy in front that is believed (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l forwarded-header -d 'In which header trusted proxies speak: x-forwarded, forwarded [default: x-forwarded]' -r -f -a "x-forwarded\t''
forwarded\t''"
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l auth-token-file -d 'A file of tokens with which clients may enter' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l insecure-no-auth -d 'Let everybody enter who can reach this port, also from other machines' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l connections-max -d 'The most connections at once [default: 20000]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l jwt-issuer -d 'Accept JSON Web Tokens of this issuer' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l jwt-audience -d 'A name of this server in the tokens\' `aud` (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l jwks-url -d 'Where the issuer\'s keys are, as a JWK set' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l jwks-file -d 'A file with the issuer\'s keys, as a JWK set' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l jwt-algorithm -d 'How a token may be signed [default: RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l jwt-scope -d 'A scope that every token must have (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l jwt-leeway -d 'By how much the issuer\'s clock may differ [default: 30s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l jwt-principal-claim -d 'The claim that says what a token\'s owner may do [default: mcp_mux]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l jwt-claim-env -d 'A variable that this claim may set (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l tls-cert -d 'Speak TLS (HTTPS) with the certificate in this file' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l tls-key -d 'The private key of --tls-cert' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l tls-client-ca -d 'Ask clients for certificates that were issued by an authority in this file' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l tls-client-auth -d 'Whether clients must have a certificate: required, optional [default: required]' -r -f -a "required\t''
optional\t''"
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l connections-per-address-max -d 'The most connections of one address at once [default: 1000]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l first-byte-timeout -d 'How long a new connection may send nothing [default: 30s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l header-timeout -d 'How long the head of a request may take to arrive [default: 30s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l idle-timeout -d 'How long a connection may go without a request [default: 2m]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l untaken-timeout -d 'How long a client may take nothing of what is there for it [default: 1m]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l header-bytes-max -d 'The largest head of a request: its line and headers [default: 64KiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l headers-max -d 'The most headers of a request [default: 100]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l http2-streams-max -d 'The most requests at once on one HTTP/2 connection [default: 128]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l http2-resets-max -d 'The most requests of one HTTP/2 connection that may be cancelled before they were looked at [default: 200]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l http2-frames-max -d 'The most frames of one HTTP/2 connection that carry neither a request nor any of its body [default: 10000]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l session-idle-timeout -d 'Close a session without a request or an open stream for this long [default: 30m]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l session-max-age -d 'Close a session this long after it was opened [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l sessions-max -d 'The most sessions at once [default: 10000]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l stateless -d 'Serve Streamable HTTP without sessions' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l replay-events -d 'The most events kept for replay in one session [default: 256]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l replay-bytes -d 'The most bytes of events kept for replay in one session [default: 1MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l streams-max -d 'The most GET streams of one session at once [default: 16]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l messages-waiting-max -d 'The most notifications and responses of one session that wait for room in the server\'s input [default: 64]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l unread-messages-max -d 'The most messages on one stream that a connected client may leave unread [default: 4096, or --replay-events]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l unread-bytes-max -d 'The most bytes of messages on one stream that a connected client may leave unread [default: 8MiB, or --replay-bytes]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l unread-total-bytes-max -d 'The most bytes of messages and answers that all clients may leave unread [default: 512MiB, or more]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l parked-max -d 'The most modern requests that wait for their clients to come back with answers [default: half of --sessions-max]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l parked-bytes-max -d 'The most bytes of requests that wait for their clients to come back [default: 64MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l request-timeout -d 'How long a request may go without an answer or progress [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l request-timeout-max -d 'How long a request may go on, whatever its progress [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l input-timeout -d 'How long a client of 2026-07-28 may take to come back with what a server before it asked [default: 2m]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l in-flight-max -d 'The most requests in flight in one session [default: 128]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l on-ambiguous -d 'What to do with a question of the server that could be for several clients: reject, serialize [default: reject]' -r -f -a "reject\t''
serialize\t''"
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l body-bytes-max -d 'The largest request body [default: 16MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l body-timeout -d 'How long a request body may take to arrive [default: 30s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l queue-bytes-max -d 'The most bytes waiting for the server [default: 64MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l queue-timeout -d 'How long a request waits for room or for a restarting server [default: 60s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l nesting-max -d 'The deepest nesting of a client\'s JSON [default: 128]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l batch-max -d 'The most messages of a client\'s batch; 0 takes no batches [default: 1024]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l subscriptions-max -d 'The most resources that one session may be subscribed to; 0 admits no subscription [default: 4096]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l questions-max -d 'The most questions of the server that one client may have open; 0 asks clients nothing [default: 256]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l resend-bytes-max -d 'The most bytes of requests kept to be sent again with their clients\' answers; 0 keeps none [default: 64MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l tasks-max -d 'The most tasks of which is remembered whose they are [default: 16384]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l cache-bytes -d 'The most bytes of results kept to be served again; 0 keeps none [default: 16MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l sse-after -d 'Turn a POST without an answer into an event stream after this long [default: 1s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l keep-alive -d 'The time between two keep-alive comments on an event stream [default: 15s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l rate -d 'The requests that each principal may make: 10 or 10/s, 600/m, 36000/h, or none [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l rate-burst -d 'How many requests a principal may make at once, after a pause [default: those of one second, and at least 1]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l principal-sessions-max -d 'The most sessions of one principal at once [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l principal-in-flight-max -d 'The most requests in flight of one principal, in all its sessions [default: none]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l config -d 'A file with the configuration, TOML or JSON' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l log-format -d 'How a log line looks: text, json [default: text]' -r -f -a "text\t''
json\t''"
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l watch -d 'Read the files again when they change' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l starts-max -d 'The most servers that are starting at once [default: 4]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l access-log -d 'Whether each request gets a line in the log: off, on, or a file for these lines [default: off]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l access-log-names -d 'Name the tool, prompt or resource in the access log, and in traces' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l otlp-endpoint -d 'Send traces to this OpenTelemetry collector, which takes OTLP over HTTP' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l drain-timeout -d 'How long requests in flight may go on after SIGINT or SIGTERM [default: 10s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l log-level -d 'How much to log: off, error, warn, info, debug, trace, or a filter [default: warn]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand check" -l format -d 'How the answer looks' -r -f -a "text\t'For people: a table, or a list for a single server'
json\t'One JSON object'"
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand connect" -l header -d 'A header for every request to the remote server (repeatable)' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand connect" -l auth-token-file -d 'A file with the token that is sent as `Authorization: Bearer`' -r -F
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand connect" -l insecure-http -d 'Send --header and the token also over a connection that others can read' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand connect" -l retry-timeout -d 'How long to try to reach the remote server before a request fails [default: 30s]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand connect" -l in-flight-max -d 'The most requests in flight [default: 256]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand connect" -l message-bytes-max -d 'The largest message, of the client and of the remote server [default: 16MiB]' -r
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand connect" -l log-level -d 'How much to log: off, error, warn, info, debug, trace, or a filter [default: info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand connect" -l log-format -d 'How a log line looks: text, json [default: text]' -r -f -a "text\t''
json\t''"
complete -c mcp-mux -n "__fish_mcp_mux_using_subcommand connect" -l drain-timeout -d 'How long requests in flight may go on after the end of stdin, SIGINT or SIGTERM [default: 10s]' -r
