"""The parts of nginx's configuration that are the same on every host."""

from __future__ import annotations

MAIN = """\
# Written by Moorage; changes by hand are lost. Settings: roles/edge.
load_module modules/ndk_http_module.so;
load_module modules/ngx_http_lua_module.so;
user www-data;
worker_processes %(workers)s;
worker_rlimit_nofile 16384;
# How long the workers of an older configuration go on with connections that do not end.
worker_shutdown_timeout %(shutdown)ss;
pid %(run)s/nginx.pid;
error_log %(log)s/error.log warn;
pcre_jit on;

events {
    worker_connections 7168;
}

http {
    include http.conf;
    include stacks.conf;
}
"""

HTTP = """\
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    server_tokens off;
    sendfile on;
    # Paths and headers are passed on as they are; edge.lua says which are not (`begin`).
    merge_slashes off;
    absolute_redirect off;
    underscores_in_headers on;
    ignore_invalid_headers off;
    tcp_nopush on;

    lua_package_path "%(base)s/conf/?.lua;/usr/share/lua/5.1/?.lua;;";
    lua_shared_dict moorage_pools 4m;
    lua_shared_dict moorage_flight 4m;
    lua_shared_dict moorage_bodies 1m;
    init_by_lua_block { require("edge").init("%(base)s/conf") }
    server_rewrite_by_lua_block { require("edge").begin() }
    init_worker_by_lua_block { require("edge").init_worker() }
    uninitialized_variable_warn off;
    lua_socket_log_errors off;
    header_filter_by_lua_block { require("edge").headers() }

    # Who sends slowly keeps a connection for so long, and of one address only so many.
    client_header_timeout 15s;
    client_body_timeout %(grace)ss;
    send_timeout 60s;
    keepalive_timeout 65s;
    keepalive_requests 10000;
    reset_timedout_connection on;
    large_client_header_buffers 4 16k;
    client_body_buffer_size 128k;
    limit_conn_zone $binary_remote_addr zone=moorage_addresses:8m;
    limit_conn moorage_addresses %(connections)s;
    limit_conn_status 429;
    limit_conn_log_level warn;

    client_body_temp_path %(cache)s/body 1 2;
    proxy_temp_path %(cache)s/proxy 1 2;
    fastcgi_temp_path %(cache)s/unused;
    uwsgi_temp_path %(cache)s/unused;
    scgi_temp_path %(cache)s/unused;
    proxy_cache_path %(cache)s/static levels=1:2 keys_zone=moorage_static:4m
        max_size=%(cache_mb)sm inactive=1h use_temp_path=off;

    # Compressing holds small parts back, so text/plain is left alone: it is what streams come as.
    gzip on;
    gzip_comp_level 5;
    gzip_min_length 1024;
    gzip_proxied any;
    gzip_vary on;
    gzip_types text/css text/xml text/javascript application/javascript
        application/json application/ld+json application/manifest+json application/xml
        application/rss+xml application/atom+xml application/wasm image/svg+xml font/ttf;

    %(trusted)s
    geo $realip_remote_addr $moorage_trusted { default 0;%(geo)s }
    map "$moorage_trusted:$http_x_forwarded_proto" $moorage_scheme {
        default $scheme;
        "1:https" https;
        "1:http" http;
    }
    # Whoever names a host in the first line means that one, whatever stands in Host.
    map $request $moorage_named {
        default $http_host;
        "~^[A-Z]+ [A-Za-z][A-Za-z0-9+.-]*://(?<moorage_authority>[^/?#@ ]+)" $moorage_authority;
    }
    map $moorage_named $moorage_host { "" $host; default $moorage_named; }
    map $http_upgrade $moorage_upgrade { default ""; "~*^websocket$" websocket; }
    map $moorage_upgrade $moorage_connection { default upgrade; "" ""; }
    map $upstream_http_x_content_type_options $moorage_nosniff { "" nosniff; default ""; }
    map $upstream_http_referrer_policy $moorage_referrer {
        "" strict-origin-when-cross-origin;
        default "";
    }
    map "$upstream_http_cache_control $upstream_http_pragma" $moorage_uncacheable {
        default 0;
        "~*private|no-store|no-cache|must-revalidate" 1;
    }
    # A mistake that an application gives an age is another one after its next request.
    map $upstream_status $moorage_error { default 0; "~[45][0-9][0-9]$" 1; }
    # Files of the cache are written whole: only those that are known to be small get there.
    map $upstream_http_content_length $moorage_large { default 1; "~^[0-9]{1,7}$" 0; }

    log_format moorage escape=json '{"time":"$time_iso8601","msec":$msec,"id":"$request_id",'
        '"stack":"$moorage_stack","pool":"$moorage_pool","client":"$remote_addr",'
        '"method":"$request_method","scheme":"$moorage_scheme","host":"$host","path":"%(path)s",'
        '"protocol":"$server_protocol","status":$status,"bytes_sent":$bytes_sent,'
        '"bytes_received":$request_length,"seconds":$request_time,"peer":"$upstream_addr",'
        '"peer_status":"$upstream_status","peer_connect_seconds":"$upstream_connect_time",'
        '"peer_header_seconds":"$upstream_header_time",'
        '"peer_seconds":"$upstream_response_time","cache":"$upstream_cache_status",'
        '"tls":"$ssl_protocol","agent":"$http_user_agent"}';
    %(access_log)s

    server {
        # Names that every configuration knows, whether or not a stack uses them.
        set $moorage_stack "";
        set $moorage_pool "";
        set $moorage_again "";
        server_rewrite_by_lua_block { return }
        listen unix:%(run)s/control.sock;
        access_log off;
        client_body_buffer_size 1m;
        client_max_body_size 1m;
        keepalive_timeout 0;
        location / {
            content_by_lua_block { require("edge").control() }
        }
    }
"""

PROXY = """\
proxy_http_version 1.1;
proxy_connect_timeout 3s;
# A refused connection is tried elsewhere whatever the method; once something was sent, only
# methods that may be repeated are (nginx does so unless it is told non_idempotent).
proxy_next_upstream error;
proxy_next_upstream_timeout 10s;
proxy_socket_keepalive on;
proxy_ignore_headers X-Accel-Redirect;
proxy_hide_header X-Request-Id;
proxy_buffer_size 16k;
proxy_buffers 8 16k;
# An answer waits in memory alone: a file that is full has to be sent whole before nginx reads on,
# which takes a slow visitor longer than an application may be silent.
proxy_max_temp_file_size 0;
proxy_redirect off;
proxy_set_header Host $moorage_host;
proxy_set_header Upgrade $moorage_upgrade;
proxy_set_header Connection $moorage_connection;
# Set anew and never appended: what a stranger claims about himself does not get through.
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header X-Forwarded-For $remote_addr;
proxy_set_header X-Forwarded-Proto $moorage_scheme;
proxy_set_header X-Forwarded-Host $moorage_host;
proxy_set_header X-Forwarded-Port $server_port;
proxy_set_header X-Forwarded-Prefix "";
proxy_set_header X-Forwarded-Server "";
proxy_set_header Forwarded "";
proxy_set_header X-Request-Id $request_id;
error_page 503 @moorage_failed;
error_page 502 504 = @moorage_lost;
# What a peer could not be sent is tried once more when one is there: edge.lua says what and when.
recursive_error_pages on;
"""

_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)

TLS = f"""\
ssl_protocols TLSv1.2 TLSv1.3;
ssl_ciphers {":".join(_CIPHERS)};
ssl_prefer_server_ciphers off;
ssl_session_cache shared:moorage_tls:10m;
ssl_session_timeout 1d;
ssl_session_tickets off;
"""
