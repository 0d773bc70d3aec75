// A handler for AWS's own Go client, which speaks the Lambda Runtime API.
package main

import (
	"context"
	"fmt"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

// request is an API Gateway event (payload format 2.0) for an HTTP request, or the data of `mayfly invoke`.
type request struct {
	events.APIGatewayV2HTTPRequest
	Name string `json:"name"`
}

// greeting has no statusCode, so it is answered as JSON.
type greeting struct {
	Message string `json:"message"`
}

func handle(_ context.Context, r request) (greeting, error) {
	name := r.QueryStringParameters["name"]
	if name == "" {
		name = r.Name
	}
	if name == "" {
		name = "world"
	}
	fmt.Printf("hello, %s\n", name)
	return greeting{Message: "hello, " + name}, nil
}

func main() { lambda.Start(handle) }
