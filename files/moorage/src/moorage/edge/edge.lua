-- What the edge decides for every request: which peer of a pool gets it, who has requests in
-- flight, and who waits. All of it lives in shared memory, so that a switch needs no reload.

local balancer = require "ngx.balancer"
local cjson = require "cjson.safe"
local ffi = require "ffi"

ffi.cdef "int kill(int pid, int sig);"

local M = {}

-- "pool/NAME" -> "peer,peer"; "setting/NAME" -> "NUMBER|peer,peer"; "hold/NAME" -> seconds;
-- "maintenance/STACK" -> true; "down/PEER" -> true for as long as the peer is tried last;
-- "aside/PEER" -> why it is not well, for as long as that was seen; "lost/NAME" -> since when no
-- peer of a pool could be reached; "closing" -> true shortly before a reload.
local pools = ngx.shared.moorage_pools
-- "PID/PEER" -> requests in flight. By worker, so that one that crashes takes its share with it.
local flight = ngx.shared.moorage_flight
-- "PID/SCOPE" -> bytes of bodies that a worker keeps, "sum/SCOPE" -> that all of them do; a scope is
-- the host or a pool. They are counted before they are read and for as long as the request lasts.
local bodies = ngx.shared.moorage_bodies

local POLL_SECONDS = 0.02
local DOWN_SECONDS = 1
local MORE_TRIES = 2
-- How often the peers of a pool that has several are looked at, and how long each has to answer.
local LOOK_SECONDS = 1
-- What was seen counts for so long: nobody stays aside when nobody looks any more.
local ASIDE_SECONDS = 10
-- How long visitors of a pool that has just become unreachable wait for it: the engine makes its
-- packet rules anew when it starts, and a container that crashed is started again.
local LOST_SECONDS = 5
-- After so long without a further failure a pool counts as having been reached meanwhile.
local FORGET_SECONDS = 30
-- How long workers that a reload replaces still find the pools that are gone.
local LEFT_SECONDS = 60
local CONNECT_SECONDS = 1
-- Bodies up to this size stay in memory (client_body_buffer_size).
local SMALL_BODY = 131072
-- How much of what may be kept bodies fill: large ones leave room for small ones, those that nobody
-- can hurry leave half, and one that is larger than all of it is counted as this much.
local SMALL_PART, LARGE_PART, SLOW_PART, ONE_PART = 1, 7 / 8, 1 / 2, 3 / 4
-- How often a body of unknown length is weighed.
local WEIGH_SECONDS = 0.25
-- How often; nginx allows ten redirections of a request in all.
local MAY_FAIL = 3

local configuration = {}
local page = ""
local turn = 0
local waiting = 0

local function read(path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local text = file:read("*a")
  file:close()
  return text
end

local function put(dict, key, value, seconds)
  local ok, err = dict:set(key, value, seconds or 0)
  if not ok then
    error("the edge's shared memory is full: " .. tostring(err))
  end
end

-- Each setting of a pool has a number of its own, which the cache's keys begin with: the same peer
-- may be another release. It is one value with the peers, so that nobody reads one without the
-- other, and begins with the time, because files of an earlier run of nginx are still there.
-- Workers that a reload has left with an earlier version of this file know the peers alone.
local function set_pool(name, peers, hold)
  local number = string.format("%.0f.%d", ngx.now() * 1000, pools:incr("settings", 1, 0))
  put(pools, "hold/" .. name, hold or 0)
  put(pools, "setting/" .. name, number .. "|" .. table.concat(peers, ","))
  put(pools, "pool/" .. name, table.concat(peers, ","))
end

local function split(text)
  local found = {}
  for peer in text:gmatch("[^,]+") do
    found[#found + 1] = peer
  end
  return found
end

-- Whether a file holds pools as they are written by us; a damaged one would keep nginx from starting.
local function sound(state)
  if type(state) ~= "table" or type(state.pools) ~= "table" then
    return false
  end
  for _, peers in pairs(state.pools) do
    if type(peers) ~= "table" then
      return false
    end
    for _, peer in pairs(peers) do
      if type(peer) ~= "string" then
        return false
      end
    end
  end
  return type(state.hold_seconds or {}) == "table"
end

-- Returns the pools of a stack as its file or the copy of it has them.
local function kept(stack)
  for _, suffix in ipairs({".json", ".copy"}) do
    local text = read(configuration.pools .. "/" .. stack .. suffix)
    local state = text and cjson.decode(text)
    if sound(state) then
      return state
    end
    if text then
      ngx.log(ngx.ERR, "the pools of ", stack, " are damaged: ", stack, suffix)
    end
  end
end

-- Runs in the master, at the start and at every reload: the files are the truth.
function M.init(directory)
  configuration = assert(cjson.decode(assert(read(directory .. "/edge.json"))))
  page = assert(read(directory .. "/maintenance.html"))
  -- Tells new workers from old ones when only a certificate changed.
  configuration.loads = pools:incr("loads", 1, 0)
  local wanted = {loads = true, closing = true, settings = true}
  for stack, names in pairs(configuration.stacks) do
    local state = kept(stack)
    if state then
      put(pools, "maintenance/" .. stack, state.maintenance == true)
    end
    wanted["maintenance/" .. stack] = true
    for _, name in ipairs(names) do
      local full = stack .. "/" .. name
      if state then
        set_pool(full, state.pools[name] or {}, tonumber((state.hold_seconds or {})[name]))
      else
        -- At a reload what is in memory goes on instead.
        set_pool(full, split(pools:get("pool/" .. full) or ""), pools:get("hold/" .. full))
      end
      wanted["setting/" .. full] = true
      wanted["pool/" .. full] = true
      wanted["hold/" .. full] = true
    end
  end
  for _, key in ipairs(pools:get_keys(0)) do
    local kind = key:match("^[^/]*")
    if not wanted[key] and kind ~= "down" and kind ~= "worker" and pools:ttl(key) == 0 then
      -- Workers of before still answer until the new ones are all there, and know it by its name.
      pools:expire(key, LEFT_SECONDS)
    end
  end
end

local function alive(pid)
  return ffi.C.kill(pid, 0) == 0
end

-- Takes off the sums what dead workers kept; `own`: this one's number may have been theirs.
local function bury(own)
  for _, key in ipairs(bodies:get_keys(0)) do
    local pid, scope = key:match("^(%d+)/(.*)$")
    pid = tonumber(pid)
    if pid and (pid == own or not alive(pid)) and bodies:add("buried/" .. key, true, 1) then
      bodies:incr("sum/" .. scope, -(bodies:get(key) or 0), 0)
      bodies:delete(key)
    end
  end
end

function M.init_worker()
  local pid = ngx.worker.pid()
  bury(pid)
  put(pools, "worker/" .. pid, configuration.loads)
  -- A timer that is still to come runs as soon as the worker has closed its listening sockets: from
  -- then on nobody is answered by it who was not being answered before.
  ngx.timer.at(2 ^ 20, function()
    pools:delete("worker/" .. pid)
  end)
  -- One looks for all of them.
  if ngx.worker.id() == 0 then
    assert(ngx.timer.every(LOOK_SECONDS, M.look))
  end
  -- Workers would otherwise all begin with the same peer.
  math.randomseed(ngx.now() * 1000 + ngx.worker.pid())
  turn = math.random(1000)
end

local parsed = {}

local function peers_of(text)
  local peers = parsed.text == text and parsed.peers
  if not peers then
    peers = split(text:match("|(.*)$"))
    parsed = {text = text, peers = peers}
  end
  return peers
end

local function count(peer, by)
  local _, err = flight:incr(ngx.worker.pid() .. "/" .. peer, by, 0)
  if err then
    ngx.log(ngx.ERR, "requests in flight are not counted: ", err)
  end
end

-- A rollout's own requests, which are to learn how every peer answers.
local function probes(var)
  return var.http_user_agent == "moorage-probe" and var.realip_remote_addr == var.server_addr
end

-- Peers take turns, of those that are well; where none is, of those that were not seen ill; else of
-- all: a bad answer says more than none, and what is said of all of them may be said wrongly.
local function choose(peers, tried)
  turn = turn + 1
  local size = #peers
  if size == 1 then
    return peers[1]
  end
  local well, failed, ill = {}, {}, {}
  for _, peer in ipairs(peers) do
    if not tried[peer] then
      local group = pools:get("down/" .. peer) and failed or well
      if pools:get("aside/" .. peer) and not probes(ngx.var) then
        group = ill
      end
      group[#group + 1] = peer
    end
  end
  for _, group in ipairs({well, failed, ill, peers}) do
    if #group > 0 then
      return group[turn % #group + 1]
    end
  end
end

-- Returns a peer that has been counted, or nothing when the pool is empty.
local function acquire(pool, tried)
  local key = "setting/" .. pool
  while true do
    local text = pools:get(key)
    local peers = text and peers_of(text)
    if not peers or #peers == 0 then
      return nil
    end
    local peer = choose(peers, tried)
    count(peer, 1)
    -- Who switches a pool first writes it and then reads the counts. Whoever still took an old
    -- peer has either been seen there or finds here that the pool is another one.
    if pools:get(key) == text then
      return peer, text, #peers
    end
    count(peer, -1)
  end
end

local function release()
  local peer = ngx.var.moorage_peer
  if peer and peer ~= "" then
    ngx.var.moorage_peer = ""
    count(peer, -1)
    return peer
  end
end

local function wants_json()
  local accept = ngx.var.http_accept
  return accept and accept:find("json", 1, true) and not accept:find("text/html", 1, true)
end

local function say(status)
  local header = ngx.header
  header["Cache-Control"] = "no-store"
  header["Retry-After"] = "5"
  if wants_json() then
    header["Content-Type"] = "application/json"
    ngx.print(cjson.encode({status = status, error = "unavailable", retry_after_seconds = 5}), "\n")
  else
    header["Content-Type"] = "text/html; charset=utf-8"
    ngx.print(page)
  end
  return ngx.exit(ngx.HTTP_OK)
end

local function hold(pool, maintenance)
  local limit = pools:get("hold/" .. pool) or 0
  if limit <= 0 or waiting >= configuration.waiters then
    return nil
  end
  local deadline = ngx.now() + limit
  waiting = waiting + 1
  local peer, text, size
  repeat
    ngx.sleep(POLL_SECONDS)
    peer, text, size = acquire(pool, {})
  until peer or ngx.now() >= deadline or pools:get(maintenance)
  waiting = waiting - 1
  return peer, text, size
end

-- Scope -> the keys of this worker and of all.
local keys = {}

local function keys_of(scope)
  local found = keys[scope]
  if not found then
    found = {ngx.worker.pid() .. "/" .. scope, "sum/" .. scope}
    keys[scope] = found
  end
  return found[1], found[2]
end

-- Makes what is counted for a body in a scope another number of bytes, unless that is too much.
local function weigh(scope, had, wanted, most)
  local by = wanted - had
  if by == 0 then
    return true
  end
  local own, all = keys_of(scope)
  local _, lost = bodies:incr(own, by, 0)
  local sum, err = bodies:incr(all, by, 0)
  if lost or err then
    ngx.log(ngx.ERR, "bodies are not counted: ", lost or err)
  elseif by > 0 and sum > most then
    bodies:incr(own, -by, 0)
    bodies:incr(all, -by, 0)
    return false
  end
  return true
end

-- The same for the host and the pool together.
local function keep(var, bytes, part)
  local for_host, for_pool = var.moorage_body:match("^(%d+) (%d+)$")
  for_host, for_pool = tonumber(for_host) or 0, tonumber(for_pool) or 0
  local pool, all = var.moorage_pool, configuration.bodies.host
  local own = configuration.bodies.pools[pool].all
  local one = math.min(part, ONE_PART)
  local host, mine = math.min(bytes, all * one), math.min(bytes, own * one)
  if not weigh("host", for_host, host, all * part) then
    return false
  end
  if not weigh(pool, for_pool, mine, own * part) then
    weigh("host", host, for_host, math.huge)
    return false
  end
  var.moorage_body = string.format("%.0f %.0f", host, mine)
  return true
end

local buried = 0

local function fits(var, bytes, part)
  if keep(var, bytes, part) then
    return true
  end
  -- A worker that a reload has left is replaced by none, so its end has to be noticed here.
  if ngx.now() < buried + 1 then
    return false
  end
  buried = ngx.now()
  bury()
  return keep(var, bytes, part)
end

local function fits_so_far(var, bytes)
  local small = bytes <= SMALL_BODY
  return fits(var, math.max(bytes, SMALL_BODY), small and SMALL_PART or LARGE_PART)
end

local function refuse(status, words)
  ngx.status = status
  ngx.header["Cache-Control"] = "no-store"
  ngx.header["Content-Type"] = "text/plain; charset=utf-8"
  if status == 503 then
    ngx.header["Retry-After"] = "5"
  end
  ngx.print(words, "\n")
  return ngx.exit(ngx.HTTP_OK)
end

local function full(var, received)
  -- It is there until nginx is rid of the visitor.
  if received then
    keep(var, received, math.huge)
  end
  return refuse(503, "Too much is being uploaded at this moment. Try again soon.")
end

-- Runs beside the reading of a body. Returns why it is not read to its end.
local function watch(var, before, length)
  local rate, seconds = configuration.bodies.pools[var.moorage_pool].rate, configuration.bodies.seconds
  local mark, since = 0, ngx.now()
  while true do
    ngx.sleep(length and seconds or WEIGH_SECONDS)
    -- Where nginx has refused it meanwhile, there is nothing left to say.
    if not ngx.headers_sent then
      local received = tonumber(var.request_length) - before
      if not length and not fits_so_far(var, received) then
        return function()
          return full(var, received)
        end
      end
      if ngx.now() >= since + seconds * 0.99 then
        if received - mark < rate * seconds then
          return function()
            return refuse(408, "The request came too slowly.")
          end
        end
        mark, since = received, ngx.now()
      end
    end
  end
end

local function read_body()
  ngx.req.read_body()
end

local function receive(var, length)
  local before = tonumber(var.request_length)
  local reader = ngx.thread.spawn(read_body)
  -- Most bodies have come already.
  if coroutine.status(reader) ~= "zombie" then
    local watcher = ngx.thread.spawn(watch, var, before, length)
    local ok, trouble = ngx.thread.wait(reader, watcher)
    if not ok then
      error(trouble)
    elseif trouble then
      return trouble()
    end
    ngx.thread.kill(watcher)
  end
  if not length then
    -- It is there now, whatever has come beside it since it was weighed last.
    keep(var, tonumber(var.request_length) - before, math.huge)
  end
end

-- A body that nginx reads by itself counts as the largest one until it is there. Where there is no
-- room for that, or no body at all, a location that takes small ones is enough.
local function leave_room(var)
  if var.moorage_body ~= "" then
    return
  end
  local limit = configuration.bodies.pools[var.moorage_pool]
  if not fits(var, limit.one or limit.all, SLOW_PART) then
    if not fits(var, SMALL_BODY, SMALL_PART) then
      return full()
    end
    return ngx.exec(var.moorage_small)
  end
end

-- The body is read before a peer is taken: a slow sender keeps none from being replaced. nginx's
-- Lua cannot do that for HTTP/2 without a length (false); the balancer takes the peer then.
local function take_body(var)
  local length, http2 = tonumber(var.content_length), ngx.req.http_version() == 2
  if (length or 0) > 0 or (var.http_transfer_encoding and not http2) then
    -- It is there already where the request is tried again.
    if var.moorage_body == "" then
      local small = (length or 0) <= SMALL_BODY
      if not fits(var, length or SMALL_BODY, small and SMALL_PART or LARGE_PART) then
        return full()
      end
      receive(var, length)
    end
  elseif http2 and not length then
    local method = ngx.req.get_method()
    if method ~= "GET" and method ~= "HEAD" then
      leave_room(var)
      return false
    end
    -- It means nothing there, and would not be counted.
    ngx.req.discard_body()
  end
  return true
end

-- What the edge says of a visitor. Applications see X_Forwarded_For as X-Forwarded-For, and nginx
-- does in its variables: only the names with hyphens may say it.
local OWN = {}
for name in ([[host connection upgrade forwarded x-real-ip x-request-id content-length content-type
    transfer-encoding authorization proxy-authorization cookie remote-user te trailer expect
    keep-alive]]):gmatch("%S+") do
  OWN[name] = true
end

-- What is for the next hop alone says the visitor; old names of it nobody behind here wants. CGI
-- takes Proxy for its own HTTP_PROXY.
local function drop_hops(given, plain)
  if plain.connection then
    for name, value in pairs(given) do
      if name:lower() == "connection" then
        local all = type(value) == "table" and table.concat(value, ",") or tostring(value)
        for word in all:gmatch("[^%s,]+") do
          if not OWN[word:lower()] then
            ngx.req.clear_header(word)
          end
        end
      end
    end
  end
  if plain.proxy then
    ngx.req.clear_header("proxy")
  end
  if plain["proxy-connection"] then
    ngx.req.clear_header("proxy-connection")
  end
end

local function clean_headers()
  local given = ngx.req.get_headers(0, true)
  local plain = {}
  for name in pairs(given) do
    if not name:find("[^%w-]") then
      plain[name:lower()] = true
    end
  end
  for name in pairs(given) do
    if name:find("[^%w-]") then
      local meant = name:lower():gsub("[^%w]", "-")
      if OWN[meant] or plain[meant] or meant:find("^x%-forwarded") then
        ngx.req.clear_header(name)
      end
    end
  end
  drop_hops(given, plain)
end

-- "/a%2Fb" -> "/a/b" and, with the slashes that were encoded left as they are, "/a%2fb".
local function decode(path)
  local kept = path:gsub("%%(%x%x)", function(digits)
    local char = string.char(tonumber(digits, 16))
    return char == "/" and "%2f" or char == "%" and "%25" or char
  end)
  local whole = kept:gsub("%%2f", "/")
  whole = whole:gsub("%%25", "%%")
  return whole, kept
end

-- A path that somebody could take for another one: with dot segments however they are written, or
-- with an ASCII character hidden in more bytes than it needs.
local function ambiguous(path)
  for segment in path:gmatch("[^/\\]+") do
    segment = segment:gsub(";.*", "")
    if segment == "." or segment == ".." then
      return true
    end
  end
  return path:find("[\192\193][\128-\191]") or path:find("\224[\128-\159][\128-\191]")
    or path:find("\240[\128-\143][\128-\191]")
end

-- Before a location is chosen. nginx chooses by the decoded path and passes on the one that it was
-- given: where these could differ in what they lead to, nobody is asked.
function M.begin()
  clean_headers()
  local raw = ngx.var.request_uri
  local path = decode(raw:match("^[^?]*"))
  if path ~= ngx.var.uri or raw:find("[%z\\\127]") or path:find("%z") or ambiguous(path) then
    return ngx.exit(400)
  end
end

-- The longest of the places that the path is or lies below.
local function place_of(path, places)
  local found = ""
  for place in places:gmatch("%S+") do
    place = place:gsub("/+$", "")
    local fits = path == place or path:sub(1, #place + 1) == place .. "/"
    if fits and #place > #found then
      found = place
    end
  end
  return found
end

-- Whether applications agree with nginx where the path lies: some take %2F for no slash, two slashes
-- for one, and what follows a ; for no part of the name.
local function settled(var)
  local whole, kept = decode(var.request_uri:match("^[^?]*"))
  local names = whole:gsub(";[^/]*", "")
  local merged, joined = whole:gsub("//+", "/"), names:gsub("//+", "/")
  local place = place_of(whole, var.moorage_places)
  for _, other in ipairs({kept, names, merged, joined}) do
    if place_of(other, var.moorage_places) ~= place then
      return false
    end
  end
  return true
end

-- What a cache must neither keep nor answer, whatever the application says of it.
local function personal(var)
  local method = ngx.req.get_method()
  return var.http_authorization or var.http_cookie or var.http_range or var.http_if_range
    or var.http_cache_control or var.http_pragma or (method ~= "GET" and method ~= "HEAD")
end

function M.access()
  local var = ngx.var
  if not settled(var) then
    return ngx.exit(400)
  end
  if var.moorage_plain ~= "" and personal(var) then
    return ngx.exec(var.moorage_plain)
  end
  local accept = var.http_accept
  if var.moorage_stream ~= "" and (var.moorage_upgrade ~= ""
      or accept and accept:find("text/event-stream", 1, true)) then
    return ngx.exec(var.moorage_stream)
  end
  -- Workers that end close connections on which nobody asks at that moment, and whoever begins to
  -- ask just then has lost. So connections in use are ended beforehand, each with an answer; only
  -- a location that keeps none alive can do that.
  if var.moorage_closing ~= "" and pools:get("closing") then
    return ngx.exec(var.moorage_closing)
  end
  local pool, maintenance = var.moorage_pool, "maintenance/" .. var.moorage_stack
  if pools:get(maintenance) then
    ngx.status = 503
    return say(503)
  end
  local ready = take_body(var)
  local peer, text, size = acquire(pool, {})
  if not peer then
    peer, text, size = hold(pool, maintenance)
  end
  if not peer then
    ngx.status = 503
    return say(503)
  end
  if not ready then
    count(peer, -1)
    peer = ""
    ngx.ctx.unread = true
  end
  var.moorage_peer = peer
  var.moorage_setting = text:match("^[^|]*")
  ngx.ctx.size = size
end

local places = {}

local function place(peer)
  local found = places[peer]
  if not found then
    local host, port = peer:match("^(.*):(%d+)$")
    found = {host, tonumber(port)}
    places[peer] = found
  end
  return found[1], found[2]
end

function M.balance()
  local ctx, var = ngx.ctx, ngx.var
  local again = ctx.tried ~= nil
  local peer = var.moorage_peer
  if again then
    pools:set("down/" .. peer, true, DOWN_SECONDS)
    release()
    peer = ""
  else
    ctx.tried = {}
    if ctx.unread then
      keep(var, tonumber(var.request_length), SMALL_PART)
    end
  end
  if peer == "" then
    peer = acquire(var.moorage_pool, ctx.tried)
    if not peer then
      return ngx.exit(503)
    end
    var.moorage_peer = peer
  end
  if not again and ctx.size > 1 then
    balancer.set_more_tries(math.min(ctx.size - 1, MORE_TRIES))
  end
  ctx.tried[peer] = true
  local ok, err = balancer.set_current_peer(place(peer))
  if not ok then
    ngx.log(ngx.ERR, "the peer ", peer, " cannot be used: ", err)
    return ngx.exit(500)
  end
end

-- A rollout's own requests learn who has answered them, and nobody but the edge can say it.
function M.headers()
  -- nginx takes one that is not final for the answer, and would wait for the rest of it.
  if ngx.status < 200 and ngx.status ~= 101 then
    return ngx.exit(502)
  end
  local var = ngx.var
  if probes(var) then
    local peer = var.moorage_peer
    ngx.header["X-Moorage-Peer"] = peer ~= "" and peer or nil
    -- What the peer says of others that were late for it is an answer; this is that it gave none.
    local unanswered = (var.upstream_header_time or "-"):sub(-1) == "-"
    ngx.header["X-Moorage-Late"] = ngx.status == 504 and unanswered and "1" or nil
  end
end

function M.log()
  local var = ngx.var
  if var.moorage_body and var.moorage_body ~= "" then
    keep(var, 0, SMALL_PART)
    var.moorage_body = ""
  end
  local peer = release()
  local status = peer and var.upstream_status
  if not status then
    return
  end
  if status:sub(-3) == "502" or status:sub(-3) == "504" then
    pools:set("down/" .. peer, true, DOWN_SECONDS)
  elseif pools:get("lost/" .. var.moorage_pool) then
    pools:delete("lost/" .. var.moorage_pool)
  end
end

-- Tells whether a peer of the pool takes connections: one is made for nothing but that.
local function reachable(pool)
  for _, peer in ipairs(split(pools:get("pool/" .. pool) or "")) do
    local host, port = place(peer)
    local socket = ngx.socket.tcp()
    socket:settimeout(CONNECT_SECONDS * 1000)
    local ok = socket:connect(host, port)
    socket:close()
    if ok then
      return true
    end
  end
  return false
end

-- Pool -> whether somebody of this worker looks after it, and when it was last seen reachable.
local looking, seen = {}, {}

-- Waits until some peer of the pool takes connections; false when that does not happen in time.
local function regained(pool)
  local key, began = "lost/" .. pool, ngx.now()
  local since = pools:get(key) or began
  -- Whoever begins first says since when; each failure keeps that for a while longer.
  put(pools, key, since, FORGET_SECONDS)
  if waiting >= configuration.waiters then
    return false
  end
  waiting = waiting + 1
  while (seen[pool] or 0) <= began and ngx.now() < since + LOST_SECONDS do
    ngx.sleep(POLL_SECONDS)
    if not looking[pool] then
      looking[pool] = true
      if reachable(pool) then
        seen[pool] = ngx.now()
      end
      looking[pool] = nil
    end
  end
  waiting = waiting - 1
  return (seen[pool] or 0) > began
end

-- Returns why a peer is not well, nothing where it is: it does not take a connection, or does not
-- answer as it should where it says how it is. What it says itself is shown to nobody.
local function ailment(pool, peer)
  local host, port = place(peer)
  local path, socket = configuration.health[pool], ngx.socket.tcp()
  socket:settimeout(LOOK_SECONDS * 1000)
  local ok, why = socket:connect(host, port)
  if ok and path then
    local start
    socket:send("GET " .. path .. " HTTP/1.1\r\nHost: 127.0.0.1:" .. pool:match("%d*$")
      .. "\r\nUser-Agent: moorage-edge\r\nAccept: */*\r\nConnection: close\r\n\r\n")
    -- No more of it, however much comes.
    start, why = socket:receive(#"HTTP/1.1 200")
    if start then
      local status = start:match("^HTTP/1%.%d (%d%d%d)$") or "no HTTP"
      why = not status:find("^[23]") and "answered " .. status or nil
    end
  end
  socket:close()
  return why
end

-- The peers that this worker looks at, and until when: a look takes four waits at most, and one
-- that broke off keeps none of the later ones.
local under = {}

-- Looks at a peer, and remembers what is seen unless the pool has become another one meanwhile.
local function examine(pool, peer, text)
  under[peer] = ngx.now() + 5 * LOOK_SECONDS
  local why = ailment(pool, peer)
  if why == "timeout" then
    -- Who was slow once may have been busy.
    why = ailment(pool, peer)
  end
  under[peer] = nil
  if pools:get("setting/" .. pool) ~= text then
    return nil
  end
  local key = "aside/" .. peer
  local before = pools:get(key)
  if why then
    pools:set(key, why, ASIDE_SECONDS)
  elseif before then
    pools:delete(key)
  end
  if (why == nil) ~= (before == nil) then
    ngx.log(ngx.WARN, "the peer ", peer, " of ", pool, why and " is set aside: " or " is well again",
      why or "")
  end
  return why
end

function M.look(premature)
  if premature then
    return
  end
  for stack, names in pairs(configuration.stacks) do
    for _, name in ipairs(names) do
      local pool = stack .. "/" .. name
      local text = pools:get("setting/" .. pool)
      local peers = text and split(text:match("|(.*)$")) or {}
      for _, peer in ipairs(#peers > 1 and peers or {}) do
        if (under[peer] or 0) < ngx.now() then
          ngx.thread.spawn(examine, pool, peer, text)
        end
      end
    end
  end
end

local ONCE = {POST = true, PATCH = true, LOCK = true}

-- Whether a request that a peer was sent and left without an answer is for another one: it may be
-- repeated, there is another one, and the peer is not well, as opposed to slow at just this.
local function elsewhere(var)
  local pool, peer = var.moorage_pool, var.moorage_peer
  local text = pools:get("setting/" .. pool)
  if ONCE[ngx.req.get_method()] or probes(var) or not text or peer == "" then
    return false
  end
  local peers = split(text:match("|(.*)$"))
  for _, other in ipairs(#peers > 1 and peers or {}) do
    if other == peer then
      return (pools:get("aside/" .. peer) or examine(pool, peer, text)) ~= nil
    end
  end
  return false
end

-- nginx got no answer of a peer. Where no byte of the request has reached any, it may be sent
-- again, whatever its method.
function M.lost()
  local var = ngx.var
  local sent, tries = var.upstream_bytes_sent, tonumber(var.moorage_tries) or MAY_FAIL
  if sent and not sent:find("[1-9]") then
    -- It no longer counts as in flight: a rollout does not wait for it, and may give it a new peer.
    release()
    -- A rollout wants to know at once how visitors would fare without this.
    local patient = var.http_user_agent ~= "moorage-probe"
    if patient and tries < MAY_FAIL and regained(var.moorage_pool) then
      var.moorage_tries = tries + 1
      return ngx.exec(var.moorage_again)
    end
  elseif tries < MAY_FAIL and elsewhere(var) then
    release()
    var.moorage_tries = tries + 1
    return ngx.exec(var.moorage_again)
  end
  ngx.status = tonumber((var.upstream_status or ""):match("(50[24])$")) or 502
  return say(ngx.status)
end

function M.full()
  return full()
end

function M.failed()
  return say(ngx.status)
end

local function in_flight()
  local sums = {}
  for _, key in ipairs(flight:get_keys(0)) do
    local pid, peer = key:match("^(%d+)/(.*)$")
    if not alive(tonumber(pid)) then
      flight:delete(key)
    else
      sums[peer] = (sums[peer] or 0) + (flight:get(key) or 0)
    end
  end
  return sums
end

local function change(wanted)
  for name, entry in pairs(wanted.pools or {}) do
    set_pool(name, entry.peers, entry.hold_seconds)
    -- Whoever leads visitors there knows better than what was seen before.
    for _, peer in ipairs(entry.peers) do
      pools:delete("aside/" .. peer)
    end
  end
  for stack, on in pairs(wanted.maintenance or {}) do
    put(pools, "maintenance/" .. stack, on)
  end
  if wanted.closing_seconds then
    if wanted.closing_seconds > 0 then
      pools:set("closing", true, wanted.closing_seconds)
    else
      pools:delete("closing")
    end
  end
end

-- Returns the workers that take connections, each with the number of its load.
local function workers()
  local found = {}
  for _, key in ipairs(pools:get_keys(0)) do
    local pid = key:match("^worker/(%d+)$")
    if pid and alive(tonumber(pid)) then
      found[pid] = pools:get(key)
    elseif pid then
      pools:delete(key)
    end
  end
  return found
end

-- One question on the control socket: changes first, then the counts, for `acquire` relies on it.
function M.control()
  ngx.req.read_body()
  local wanted, err = cjson.decode(ngx.req.get_body_data() or "{}")
  ngx.header["Content-Type"] = "application/json"
  if not wanted then
    ngx.status = 400
    return ngx.print(cjson.encode({error = err}))
  end
  change(wanted)
  bury()
  local found, aside, kept_bodies = {}, {}, {}
  for name in pairs(configuration.bodies.pools) do
    kept_bodies[name] = bodies:get("sum/" .. name) or 0
  end
  kept_bodies.host = bodies:get("sum/host") or 0
  for _, key in ipairs(pools:get_keys(0)) do
    local name = key:match("^pool/(.*)$")
    if name then
      found[name] = pools:get(key)
    end
    local peer = key:match("^aside/(.*)$")
    if peer then
      aside[peer] = pools:get(key)
    end
  end
  ngx.print(cjson.encode({
    generation = configuration.generation,
    loads = configuration.loads,
    workers = workers(),
    connections = tonumber(ngx.var.connections_active),
    in_flight = in_flight(),
    pools = found,
    aside = aside,
    bodies = kept_bodies,
  }))
end

return M
