<?php

namespace App;

use Symfony\Bundle\FrameworkBundle\FrameworkBundle;
use Symfony\Bundle\FrameworkBundle\Kernel\MicroKernelTrait;
use Symfony\Bundle\TwigBundle\TwigBundle;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpKernel\Kernel as BaseKernel;
use Symfony\Component\Routing\Loader\Configurator\RoutingConfigurator;

/** The application: what is switched on, and which address leads where. */
final class Kernel extends BaseKernel
{
    use MicroKernelTrait;

    public function registerBundles(): iterable
    {
        return [new FrameworkBundle(), new TwigBundle()];
    }

    protected function configureContainer(ContainerConfigurator $container): void
    {
        $container->extension('framework', [
            // All instances sign with the same secret: a tag that one has written is asked for at another.
            'secret' => '%env(SHOP_SECRET)%',
            'esi' => true,
            'ssi' => true,
            'fragments' => ['path' => '/_fragment'],
            'http_method_override' => false,
        ]);
        $container->extension('twig', ['default_path' => '%kernel.project_dir%/templates']);
        $services = $container->services()->defaults()->autowire()->autoconfigure();
        $services->set(Shop::class)->args(['%env(SHOP_VAR)%/shop.json', '%env(SHOP_SECRET)%']);
        $services->set(ForSurrogates::class);
        foreach ([Pages::class, Parts::class, Forms::class] as $controller) {
            $services->set($controller)->public()->tag('controller.service_arguments');
        }
    }

    protected function configureRoutes(RoutingConfigurator $routes): void
    {
        $routes->add('front', '/')->controller([Pages::class, 'front'])->methods(['GET']);
        $routes->add('book', '/books/{id}')->controller([Pages::class, 'book'])->methods(['GET']);
        foreach (['login', 'logout', 'basket', 'order', 'reviews'] as $form) {
            $routes->add($form, "/do/$form")->controller([Forms::class, $form])->methods(['POST']);
        }
    }

    public function getProjectDir(): string
    {
        return \dirname(__DIR__);
    }

    public function getCacheDir(): string
    {
        return getenv('SHOP_VAR').'/cache';
    }

    public function getLogDir(): string
    {
        return getenv('SHOP_VAR').'/log';
    }
}
