variable "ENVS" { default = ["dev", "prod"] }
variable "MAP" { default = { a = 1, b = 2, c = 3 } }
target "default" {
  args = {
    for_list   = join(",", [for i, e in ENVS : "${i}=${e}"])
    for_if     = join(",", [for k, v in MAP : k if v > 1])
    for_map    = jsonencode({ for k, v in MAP : upper(k) => v * 10 })
    for_group  = jsonencode({ for e in ["apple", "avocado", "banana"] : substr(e, 0, 1) => e... })
    splat      = join(",", [{ n = "x" }, { n = "y" }][*].n)
    attrsplat  = join(",", [{ n = "p" }, { n = "q" }].*.n)
    legacy     = ENVS.1
    index      = ENVS[0]
    nested     = MAP["b"]
    arith      = (1 + 2) * 3 - 4 / 2 % 3
    compare    = 1 < 2 && 2 >= 2 || false
    negative   = -(5)
    not        = !(true == false)
    strnum     = "2" + 3
    ternary    = length(ENVS) > 1 ? "many" : "one"
    nulls      = try(null == null ? "same" : "different")
    expand     = max([1, 7, 3]...)
    mixed      = "a ${1 + 1} b ${true} c"
  }
  tags = length(ENVS) > 5 ? [] : ["t:${ENVS[0]}", "t:${ENVS[1]}"]
  platforms = [for p in ["amd64", "arm64"] : "linux/${p}"]
}
