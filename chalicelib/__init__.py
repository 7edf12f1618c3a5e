"""Carillon: real-time notifications on API Gateway, Lambda, DynamoDB and SQS."""
