-- Refuses JSON bodies with fields that the request does not have, which the transcoder drops without a word, and with
-- objects where a map has scalars, which it turns into bytes that no service can parse.
-- It looks for names alone; whatever is not JSON at all is left for the transcoder to refuse.

-- message -> field -> message that a JSON object there has to fit, true for any, false for none; "*" is a map's keys
local messages = {{ messages }}
-- section, the first two segments of the path -> pattern of the path -> message of the body
local bodies = {{ bodies }}

local function end_of_string(text, start)
  local stop = text:find('["\\]', start + 1)
  while stop and text:sub(stop, stop) == '\\' do
    stop = text:find('["\\]', stop + 2)
  end
  return stop
end

-- What is wrong with `text` as `message`, or nil.
local function fault(text, message)
  -- what the next "{" has to fit, the field it stands in, the fields of each open object, false where any will do
  local expected, field, open, at = messages[message], nil, {}, 1
  while true do
    local start, _, mark = text:find('(["{}%[%]])', at)
    if not start then
      return nil
    end
    at = start + 1
    if mark == '"' then
      local stop = end_of_string(text, start)
      if not stop then
        return nil
      end
      at = stop + 1
      local fields = open[#open]
      if fields and text:find('^%s*:', at) then
        field = text:sub(start + 1, stop - 1)
        local kind = fields[field]
        if kind == nil then
          kind = fields['*']
        end
        if kind == nil then
          return 'Unknown field "' .. field:sub(1, 64) .. '"'
        end
        expected = messages[kind] or kind
      end
    elseif mark == '{' then
      if not expected then
        return 'An object cannot stand in "' .. field:sub(1, 64) .. '"'
      end
      open[#open + 1] = expected ~= true and expected
    elseif mark == '[' then
      open[#open + 1] = false
    else
      expected = table.remove(open) or expected
    end
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local kind = headers:get('content-type') or ''
  local method = headers:get(':method')
  if (method ~= 'POST' and method ~= 'PUT' and method ~= 'PATCH') or kind:sub(1, 16) ~= 'application/json' then
    return
  end
  local path = headers:get(':path'):match('^[^?]*[^?/]') or ''
  for pattern, message in pairs(bodies[path:match('^/[^/:]+/[^/:]+')] or {}) do
    if path:match(pattern) then
      local body = handle:body()
      if body and body:length() <= {{ limit }} then
        local text = fault(body:getBytes(0, body:length()), message)
        if text then
          handle:respond({ [':status'] = '400' }, text)
        end
      end
      return
    end
  end
end
