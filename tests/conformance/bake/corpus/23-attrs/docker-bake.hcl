SHARED = { a = "1" }
LIST   = ["x"]
target "default" {
  description = "all kinds"
  args        = SHARED
  tags        = LIST
  ulimits     = ["core=0"]
  annotations = ["index,manifest:k=$${v}"]
  labels      = { "${SHARED.a}x" = 1.5 }
  no-cache    = "true"
  pull        = 1 == 1
  target      = LIST[0]
  context     = "https://example.com/repo.git#main:dir"
  dockerfile  = "sub/../Dockerfile"
}
