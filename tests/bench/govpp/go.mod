module contivpp.invalid/govpp-routes

go 1.23.8

require (
	github.com/sirupsen/logrus v1.9.3
	go.fd.io/govpp v0.12.0
)

require (
	github.com/fsnotify/fsnotify v1.9.0 // indirect
	github.com/lunixbochs/struc v0.0.0-20200521075829-a4cb8d33dbbe // indirect
	golang.org/x/sys v0.31.0 // indirect
)
