variable "REPO" { default = "example/app" }
function "tag" {
  params = [name]
  result = ["${REPO}:${name}", "${REPO}:${name}-${suffix()}"]
}
function "suffix" {
  params = []
  result = "x"
}
function "sum" {
  params          = [first]
  variadic_params = rest
  result          = length(rest) == 0 ? first : first + max(rest...)
}
function "upper" {
  params = [x]
  result = "never called"
}
target "default" {
  tags = tag("v1")
  args = { SUM = sum(1, 2, 3), ONE = sum(1), UP = upper("real") }
}
