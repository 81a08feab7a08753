"""The one transaction by which a prediction becomes visible, run by the Redis server."""

# Redis runs a script as a whole or, when it meets an error, only up to there: nothing is undone.
# So everything that can go wrong is asked before the first write. A frame of a run updates
# `latest` only when it is newer than the frame there, so that frames recovered late do not turn
# the clock back; a frame of another run always does, so that a wrong clock cannot block it.
PUBLISH = """\
local published, all_runs, run_stream, patterns, run, latest, runs, set_aside = unpack(KEYS)
local types = {
  [published] = 'set', [all_runs] = 'stream', [run_stream] = 'stream', [patterns] = 'stream',
  [run] = 'hash', [latest] = 'hash', [runs] = 'zset', [set_aside] = 'hash',
}
for key, wanted in pairs(types) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= wanted then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. wanted
      .. '; choose another redis.prefix')
  end
end

local member, prediction, verdict, uid, frame = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local frame_time, diameter = ARGV[6], ARGV[7]
local intensity, model, q_min, q_step = ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local keep_all, keep_patterns, patterns_expiry = ARGV[12], tonumber(ARGV[13]), ARGV[14]

if redis.call('SADD', published, member) == 0 then
  return 0
end
local before = redis.call('HGET', set_aside, frame)
if before and tonumber(ARGV[15]) > 0 then
  local in_run, in_all = string.match(before, '(%S+) (%S+)')
  redis.call('XDEL', run_stream, in_run)
  redis.call('XDEL', all_runs, in_all)
  redis.call('HDEL', set_aside, frame)
  redis.call('HINCRBY', run, 'predictions', -1)
  redis.call('HINCRBY', run, 'bad_frame', -1)
end
local in_run = redis.call('XADD', run_stream, '*', 'prediction', prediction)
local in_all = redis.call('XADD', all_runs, 'MAXLEN', '~', keep_all, '*', 'prediction', prediction)
if verdict == 'bad_frame' then
  redis.call('HSET', set_aside, frame, in_run .. ' ' .. in_all)
end
if intensity ~= '' and keep_patterns > 0 then
  redis.call('XADD', patterns, 'MAXLEN', '=', keep_patterns, '*', 'frame', frame,
    'intensity', intensity, 'model', model, 'q_min', q_min, 'q_step', q_step)
  redis.call('EXPIRE', patterns, patterns_expiry)
end
redis.call('HSETNX', run, 'uid', uid)
redis.call('HSETNX', run, 'state', 'open')
redis.call('HINCRBY', run, 'predictions', 1)
redis.call('HINCRBY', run, verdict, 1)
redis.call('ZADD', runs, 'NX', frame_time, uid)

local shown = redis.call('HMGET', latest, 'run_uid', 'frame_time')
if shown[1] ~= uid or tonumber(frame_time) >= (tonumber(shown[2]) or 0) then
  redis.call('HSET', latest, 'run_uid', uid, 'frame', frame, 'frame_time', frame_time,
    'verdict', verdict, 'diameter_nm', diameter, 'prediction', prediction)
end
return 1
"""
