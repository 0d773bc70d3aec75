module example/web-go

go 1.26
